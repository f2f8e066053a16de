"""Watches the prompts of one router."""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.drift import ShiftTest, alarm_level
from pointsman.core.reference import Reference
from pointsman.serve.config.drift import DriftConfig

__all__ = ["Alarm", "Watch"]

_UPPER = {"win rate": 1.0, "novelty": 2.0}
_OWN = 0.75  # part of the evidence from which an alarm is that of one key alone


@dataclass(frozen=True, slots=True)
class Alarm:
    """When and by what an alarm was raised.

    Attributes:
        test: "win rate" or "novelty".
        at: seconds since 1970.
        n_prompts: live prompts seen by then.
        evidence: of the test, and the level that it has reached.
    """

    test: str
    at: float
    n_prompts: int
    evidence: float
    level: float


class Watch:
    """Tests the win rates and the novelty of one router's prompts, until one of them raises an alarm.

    Attributes:
        reference: of the router's checkpoint; None if it has none.
        identity: hash of the reference: an alarm against one says nothing about another.
        alarm: the first one since the start or the last reset; None if there was none.
        key_alarms: of keys whose own prompts gave nearly all of the evidence, while others asked too. Each is that
            key's alone: its prompts are left out from then on, and the others are tested from the beginning.
        n_prompts: live prompts since then, those of the warm-up included.
    """

    def __init__(
        self,
        reference: Reference | None,
        config: DriftConfig,
        *,
        rng: np.random.Generator,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reference = reference
        self.identity = _identity(reference)
        self._config = config
        self._rng = rng
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forgets the alarm and all live prompts."""
        self.alarm: Alarm | None = None
        self.key_alarms: dict[str, Alarm] = {}
        self._begin()

    def _begin(self) -> None:
        self.n_prompts = 0
        self._gains: dict[str, defaultdict[str | None, float]] = {}
        self._keys: set[str | None] = set()
        self._tests: dict[str, ShiftTest] = {}
        names = ["win rate", *(["novelty"] if self.reference is not None and self.reference.centroids else [])]
        if self._config.reference == "calibration" and self.reference is None:
            names = []
        for name in names:
            values = self._reference_values(name)
            self._tests[name] = ShiftTest(values, upper=_UPPER[name], rng=self._rng)
            self._gains[name] = defaultdict(float)
        self._level = alarm_level(self._config.false_alarm_rate, n_tests=max(1, len(names)))

    def take(self, prompts: Sequence[tuple[float, Float32Array | None, str | None]]) -> bool:
        """Takes live prompts; True if one raised an alarm, of all or of a key. After one of all nothing is tested.

        Args:
            prompts: win rate and embedding of each, and the id of its key; one without an embedding is tested by its
                win rate alone.
        """
        if self.alarm is not None or not self._tests:
            return False
        n_alarms = len(self.key_alarms)
        distances = iter(self._distances([embedding for _, embedding, _ in prompts if embedding is not None]))
        for win_rate, embedding, key in prompts:
            distance = None if embedding is None else next(distances, None)
            if key in self.key_alarms:
                continue
            self.n_prompts += 1
            self._keys.add(key)
            if self._raises("win rate", win_rate, key):
                continue
            if distance is not None:
                self._raises("novelty", distance, key)
        return self.alarm is not None or len(self.key_alarms) > n_alarms

    def is_on(self, key: str | None) -> bool:
        """Whether an alarm is on for the prompts of a key."""
        return self.alarm is not None or key in self.key_alarms

    def _distances(self, embeddings: Sequence[Float32Array]) -> list[float]:
        if "novelty" not in self._tests or not embeddings:
            return []
        assert self.reference is not None and self.reference.centroids is not None
        return [float(distance) for distance in self.reference.centroids.distances(np.stack(embeddings))]

    def _raises(self, name: str, value: float, key: str | None) -> bool:
        test = self._tests[name]
        if self.alarm is not None or self.warming_up:
            test.rank(value)
            return self.alarm is not None
        before, evidence = test.evidence, test.update(value)
        gains = self._gains[name]
        if evidence <= 1.0:
            gains.clear()  # the evidence begins again, whoever gave what was there
            return False
        gains[key] += math.log(evidence / (before + 1.0))
        if evidence < self._level:
            return False
        self._alarm(Alarm(name, self._clock(), self.n_prompts, evidence, self._level), gains)
        return True

    def _alarm(self, alarm: Alarm, gains: "defaultdict[str | None, float]") -> None:
        """An alarm of all, or of the one key without which there was hardly any evidence."""
        key = max(gains, key=gains.__getitem__)
        if key is None or len(self._keys) == 1 or gains[key] < _OWN * math.log(alarm.evidence):
            self.alarm = alarm
            return
        self.key_alarms[key] = alarm
        self._begin()

    @property
    def warming_up(self) -> bool:
        """Whether the prompts so far are themselves the reference."""
        return self._config.reference == "traffic" and self.n_prompts <= self._config.warm_up

    @property
    def towards_alarm(self) -> float:
        """How far the evidence is on its way, in [0, 1]: 0 while it is what n prompts like the reference give, 1 alarm.

        max over tests of ln(R / n) / ln(level / n), as R is n on average where nothing has changed.
        """
        if self.alarm is not None:
            return 1.0
        usual = max(self.n_prompts, 1)
        found = max((test.evidence for test in self._tests.values()), default=0.0)
        if found <= usual or self._level <= usual:
            return 0.0
        return round(min(math.log(found / usual) / math.log(self._level / usual), 1.0), 3)

    def status(self) -> dict[str, Any]:
        """What is watched and what was found, as JSON types."""
        state = "alarm" if self.alarm else "warming up" if self.warming_up else "watching"
        source = "the first prompts of the traffic"
        if self._config.reference == "calibration":
            source = "none: `pointsman calibrate` writes one" if self.reference is None else self.reference.source
        return {
            "state": state if self._tests else "not watched",
            "reference": source,
            "n_prompts": self.n_prompts,
            "towards_alarm": self.towards_alarm,
            "level": self._level,
            "evidence": {name: test.evidence for name, test in self._tests.items()},
            "alarm": None if self.alarm is None else asdict(self.alarm),
            "key_alarms": {key: asdict(alarm) for key, alarm in self.key_alarms.items()},
        }

    def _reference_values(self, name: str) -> np.ndarray:
        if self._config.reference == "traffic" or self.reference is None:
            return np.zeros(0)
        if name == "win rate":
            return self.reference.win_rates
        assert self.reference.distances is not None
        return self.reference.distances


def _identity(reference: Reference | None) -> str:
    digest = hashlib.sha256()
    if reference is not None:
        digest.update(reference.win_rates.tobytes())
        if reference.distances is not None and reference.centroids is not None:
            digest.update(reference.distances.tobytes() + reference.centroids.vectors.tobytes())
    return digest.hexdigest()[:16]
