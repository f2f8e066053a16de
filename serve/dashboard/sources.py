"""Data sources of the threshold simulator, all in the shape of an evaluation.

* reports that `pointsman evaluate --json` wrote: two of the bundled router come with the package
* the calibration of each served router: what a threshold's share is, and its quality if it was calibrated on labels
* the prompts that were routed here, as the store has them; among many candidates with the quality that is expected
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from pointsman.core.errors import ConfigError
from pointsman.serve.dashboard.calibration_points import calibration_points
from pointsman.serve.dashboard.traffic_points import traffic_points
from pointsman.serve.dashboard.weighed_points import weighed_report
from pointsman.serve.engine.expected_bills import ExpectedBills
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.served_router import ServedRouter

if TYPE_CHECKING:
    from pointsman.serve.store.store import Store

__all__ = ["Sources"]

_BUNDLED = {"mmlu": "MMLU, half of it", "gsm8k": "GSM8K, half of it"}
_TRAFFIC_DAYS = 30
_SAMPLED = 2000  # decisions among many candidates
_MAX_BYTES = 64 * 1024 * 1024


class Sources:
    """The simulator's sources, by id."""

    def __init__(
        self,
        routers: Mapping[str, ServedRouter],
        reports: Mapping[str, str],
        store: "Store | None" = None,
        *,
        bundled: bool = True,
        candidates: Sequence[str] = (),
        bills: ExpectedBills | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            reports: files by name.
            store: of the prompts that were routed here, where they are kept.
            bundled: whether the bundled router is one of them: its benchmarks come last where it is not.
            candidates: the models that are routed among, the reference first; of more than two the bundled router,
                which is of a pair, is shown only where there is nothing else.
            bills: what a point of quality is worth to each router, of many candidates.
        """
        self._served = tuple(routers)
        self._store = store
        self._bundled = bundled
        self._many = tuple(candidates) if len(candidates) > 2 else ()
        self._bills = bills
        self._routers = {name: router for name, router in routers.items() if router.calibration is not None}
        self._reports = reports

    def cards(self) -> list[dict[str, str]]:
        """Id, title and kind of each."""
        reports = [{"id": f"report/{name}", "kind": "report", "title": name} for name in self._reports]
        bundled = [{"id": f"bundled/{name}", "kind": "bundled", "title": title} for name, title in _BUNDLED.items()]
        own = [
            *({"id": f"calibration/{name}", "kind": "calibration", "title": name} for name in self._routers),
            *({"id": f"traffic/{name}", "kind": "traffic", "title": name} for name in self._served if self._store),
        ]
        if self._many and (reports or own):
            return [*reports, *own]
        return [*reports, *bundled, *own] if self._bundled else [*reports, *own, *bundled]

    async def read(self, wanted: str) -> bytes:
        """One source as JSON.

        Raises:
            RequestError: 404, there is no such source, or nothing in it, or 422, its file is not an evaluation.
        """
        kind, _, name = wanted.partition("/")
        if kind == "bundled" and name in _BUNDLED:
            return (files("pointsman.serve.dashboard") / "reports" / f"{name}.json").read_bytes()
        if kind == "calibration" and name in self._routers:
            return orjson.dumps(_calibration(name, self._routers[name], self._many))
        if kind == "traffic" and name in self._served and self._store is not None:
            if self._many:
                worth = self._bills.worth(name) if self._bills is not None else None
                return orjson.dumps(await _weighed_traffic(name, self._store, self._many, worth))
            return orjson.dumps(await _traffic(name, self._store))
        if kind == "report" and name in self._reports:
            return await asyncio.to_thread(_report, name, self._reports[name])
        known = ", ".join(card["id"] for card in self.cards())
        raise RequestError(
            f"source {wanted!r} does not exist; the sources are {known}", status=404, code="source_not_found"
        )


def _calibration(name: str, router: ServedRouter, many: Sequence[str]) -> dict[str, Any]:
    calibration = router.calibration
    assert calibration is not None
    about = {"source": calibration.source, "n_prompts": calibration.n_prompts}
    if many and router.labelled is not None:
        return {**about, "candidates": list(many), "routers": {name: _renamed(router.labelled, many)}}
    row: dict[str, Any] = {"name": name, "points": calibration_points(calibration)}
    if router.labelled is not None:
        row = {"name": name, "points": router.labelled, "curve": _curve(router.labelled), "cpt": {}, "apgr": None}
    return {**about, "rows": [row | {"spending": True} if many else row]} | ({"candidates": list(many)} if many else {})


def _renamed(labelled: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The candidates of a checkpoint by their configured names."""
    of = dict(zip(labelled["candidates"], names, strict=True))
    singles = [{**one, "model": of[one["model"]]} for one in labelled["singles"]]
    return {"curve": labelled["curve"], "singles": singles, "hull": [of[model] for model in labelled["hull"]]}


def _curve(points: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Quality with its 95 % interval against the share of strong calls, from points by threshold."""
    columns = [points[name][::-1] for name in ("share", "quality", "quality_error")]
    share, quality, error = (np.array(column) for column in columns)
    ends = {"low": quality - 1.96 * error, "high": quality + 1.96 * error}
    return {name: values.tolist() for name, values in {"share": share, "quality": quality, **ends}.items()}


async def _weighed_traffic(
    name: str, store: "Store", candidates: Sequence[str], point_usd: float | None
) -> dict[str, Any]:
    from pointsman.serve.store.queries import DecisionFilter

    since = time.time() - 86_400.0 * _TRAFFIC_DAYS
    rows = await store.decisions(DecisionFilter(router=name, since=since), limit=_SAMPLED)
    weighed = [row.weighed for row in rows if row.weighed]
    found = await asyncio.to_thread(weighed_report, weighed, candidates, point_usd=point_usd)
    if found is None:
        message = f"no prompt was weighed by {name!r} among all candidates here in the last {_TRAFFIC_DAYS} days"
        raise RequestError(message, status=404, code="no_traffic")
    report, n_prompts = found
    source = f"prompts routed by {name} here in the last {_TRAFFIC_DAYS} days, at most {_SAMPLED:,}"
    about = {"source": source, "n_prompts": n_prompts, "candidates": list(candidates)}
    return {**about, "expected": True, "routers": {name: report}}


async def _traffic(name: str, store: "Store") -> dict[str, Any]:
    from pointsman.serve.store.queries import DecisionFilter

    since = time.time() - 86_400.0 * _TRAFFIC_DAYS
    bins = await store.bins(DecisionFilter(router=name, since=since))
    if not bins:
        message = f"no prompt was routed by {name!r} here in the last {_TRAFFIC_DAYS} days"
        raise RequestError(message, status=404, code="no_traffic")
    points, n_prompts = traffic_points(bins)
    source = f"prompts routed by {name} here in the last {_TRAFFIC_DAYS} days"
    return {"source": source, "n_prompts": n_prompts, "rows": [{"name": name, "points": points}]}


def _report(name: str, file: str) -> bytes:
    try:
        path = Path(file)
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"it has more than {_MAX_BYTES} bytes")
        body = path.read_bytes()
        found = orjson.loads(body)
        many = found.get("routers", {}).values()  # of any number of candidates
        if not any(each["curve"] for each in many) and not any(row["points"] for row in found["rows"]):
            raise ConfigError("no router in it has thresholds")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        problem = error if isinstance(error, OSError | ConfigError) else "it is none"
        message = f"dashboard.reports.{name} is {file!r}, wanted what `pointsman evaluate --json` prints: {problem}"
        raise RequestError(message, status=422, code="report_unreadable") from error
    return body
