"""Watches the prompts of one router."""

import hashlib
import math
import time
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
        self.n_prompts = 0
        self._tests: dict[str, ShiftTest] = {}
        names = ["win rate", *(["novelty"] if self.reference is not None and self.reference.centroids else [])]
        if self._config.reference == "calibration" and self.reference is None:
            names = []
        for name in names:
            values = self._reference_values(name)
            self._tests[name] = ShiftTest(values, upper=_UPPER[name], rng=self._rng)
        self._level = alarm_level(self._config.false_alarm_rate, n_tests=max(1, len(names)))

    def take(self, prompts: Sequence[tuple[float, Float32Array | None]]) -> bool:
        """Takes live prompts; True if one raised the alarm. After an alarm nothing is tested any more.

        Args:
            prompts: win rate and embedding of each; one without an embedding is tested by its win rate alone.
        """
        if self.alarm is not None or not self._tests:
            return False
        distances = iter(self._distances([embedding for _, embedding in prompts if embedding is not None]))
        for win_rate, embedding in prompts:
            self.n_prompts += 1
            distance = None if embedding is None else next(distances, None)
            if self._raises("win rate", win_rate) or (distance is not None and self._raises("novelty", distance)):
                return True
        return False

    def _distances(self, embeddings: Sequence[Float32Array]) -> list[float]:
        if "novelty" not in self._tests or not embeddings:
            return []
        assert self.reference is not None and self.reference.centroids is not None
        return [float(distance) for distance in self.reference.centroids.distances(np.stack(embeddings))]

    def _raises(self, name: str, value: float) -> bool:
        test = self._tests[name]
        if self.warming_up:
            test.rank(value)
        elif test.update(value) >= self._level:
            self.alarm = Alarm(name, self._clock(), self.n_prompts, test.evidence, self._level)
        return self.alarm is not None

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
