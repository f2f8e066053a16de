"""Compares gateways in turns: one run, the same requests, again and again, so that what disturbs one disturbs all."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvloop

from benchmarks.gateways import Gateway, Running, running
from benchmarks.load import Target, run_load

__all__ = ["compare", "compare_throughput", "median_interval"]

_BLOCK_S = 1.2  # longer than rows wait to be written: the work behind the answers falls into the block that caused it
_PAUSE_S = 0.3
_CLIENTS, _LOAD_S = 32, 2.0
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class _Place:
    """What is asked in turns; `server` is None for the upstream itself."""

    target: Target
    server: Running | None


def compare(upstream: Target, compared: Sequence[Gateway], *, rounds: int) -> list[dict[str, Any]]:
    """One row per gateway: what it adds to asking the upstream, and to asking the first gateway.

    All of them run at the same time. In each round each of them is asked for 1.2 s, by one client, in an order that
    moves on. The median of the rounds' differences comes with its interval at 95 %, which supposes no distribution.
    """
    with ExitStack() as stack:
        places = {"direct": _Place(upstream, None)}
        places |= {each.name: _Place(each.target, stack.enter_context(running(each))) for each in compared}
        for place in places.values():
            uvloop.run(run_load(place.target, clients=8, seconds=2.0))
        blocks = _alternate(places, rounds)
    first = compared[0].name
    return [_row(name, blocks, base=first) for name in places if name != "direct"]


def compare_throughput(servers: Mapping[str, Target], *, rounds: int) -> list[dict[str, Any]]:
    """One row per running server: requests/s of 32 clients, and the multiple of it that each Pointsman serves.

    In each round each of them is loaded for 2 s, in an order that moves on. Multiples are medians of the rounds', with
    their intervals at 95 %.
    """
    names = list(servers)
    served: dict[str, list[float]] = {name: [] for name in names}
    for target in servers.values():
        uvloop.run(run_load(target, clients=_CLIENTS, seconds=_LOAD_S))
    for name in _turns(names, rounds):
        load = uvloop.run(run_load(servers[name], clients=_CLIENTS, seconds=_LOAD_S))
        served[name].append(load.requests_per_s)
    ours = [name for name in names if name.startswith("pointsman")]
    return [
        {
            "gateway": name,
            "requests_per_s": round(float(np.median(served[name]))),
            **{f"{our} over it": _ratio(served[our], served[name]) for our in ours if our != name},
        }
        for name in names
    ]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in median_interval([a / b for a, b in zip(ours, others, strict=True)])]


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and the ends of its interval at 95 % or more: order statistics, as in the sign test.

    The k-th smallest and k-th largest of n values hold the median between them with probability
    1 - 2 P(Binomial(n, 1/2) < k); of fewer than six values the smallest and the largest are given.
    """
    ordered, n, k, outside = sorted(values), len(values), 0, 0.0
    while (outside := outside + 2.0 * math.comb(n, k) / 2.0**n) <= 1.0 - _CONFIDENCE:
        k += 1
    k = max(k, 1)
    return float(np.median(ordered)), ordered[k - 1], ordered[n - k]


def _alternate(places: Mapping[str, _Place], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Median and mean milliseconds, and microseconds of processor time per request, of each block."""
    names = list(places)
    blocks: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for name in _turns(names, rounds):
        place = places[name]
        busy = place.server.cpu_s if place.server is not None else 0.0
        load = uvloop.run(run_load(place.target, clients=1, seconds=_BLOCK_S))
        time.sleep(_PAUSE_S)
        busy = place.server.cpu_s - busy if place.server is not None else 0.0
        latencies = load.latencies_s
        mean_ms, cpu_us = 1e3 * float(np.mean(latencies)), 1e6 * busy / len(latencies)
        blocks[name].append({"p50_ms": load.ms(50), "mean_ms": mean_ms, "cpu_us": cpu_us})
    return blocks


def _turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Every name once a round, in an order that moves on."""
    for turn in range(rounds):
        first = turn % len(names)
        yield from (*names[first:], *names[:first])


def _row(name: str, blocks: Mapping[str, list[dict[str, float]]], *, base: str) -> dict[str, Any]:
    row: dict[str, Any] = {"gateway": name, "rounds": len(blocks[name])}
    row["cpu_us"] = round(float(np.mean([block["cpu_us"] for block in blocks[name]])))
    for figure in ("p50_ms", "mean_ms"):
        row[f"added_{figure}"] = _difference(blocks[name], blocks["direct"], figure)
        if name != base:
            row[f"more_{figure}"] = _difference(blocks[name], blocks[base], figure)
    return row


def _difference(ours: Sequence[dict[str, float]], others: Sequence[dict[str, float]], figure: str) -> list[float]:
    differences = [one[figure] - other[figure] for one, other in zip(ours, others, strict=True)]
    return [round(value, 3) for value in median_interval(differences)]
