"""What the models of `autopilot_run` were asked, call by call, and each call's row and bill in the store.

The configurations before and after the change of prices name different keys, so every call tells which of them it was
sent under: that is what it must be billed at. A call without a row must be of the killed process.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from pointsman.serve.store.queries import DecisionFilter
from pointsman.serve.store.rows import ComparisonRow, DecisionRow, SpendRow
from pointsman.serve.store.store import Store

from support.planted_models import PlantedModels

__all__ = ["KEYS", "TOKENS", "Call", "CallLog", "Prices", "explain", "local_ports"]

KEYS = {"POINTSMAN_RUN_FIRST_KEY": "first", "POINTSMAN_RUN_SECOND_KEY": "second"}  # variables, and what they hold
TOKENS = (100, 50)
Prices = Mapping[str, Mapping[str, tuple[float, float]]]  # by key and model: dollars of a million tokens, in and out
_SAME = 1e-9  # dollars


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model.

    Attributes:
        number: of this call, from 0 on.
        prompt: of the request that was answered, compared or judged.
        key: tells the configuration that it was sent under.
        compares: it is of a comparison; else a client waits for it.
        port: of the caller's connection.
    """

    number: int
    model: str
    prompt: str
    key: str
    compares: bool
    port: int


@dataclass
class CallLog(PlantedModels):
    """Models that keep a log of their calls."""

    log: list[Call] = field(default_factory=list)

    async def _chat(self, request: Request) -> JSONResponse:
        document: dict[str, Any] = await request.json()
        model, text = document["model"], document["messages"][-1]["content"]
        prompt = text.partition("<request>\n")[2].partition("\n</request>")[0] if model == "judge" else text
        key = request.headers["authorization"].removeprefix("Bearer ")
        assert request.client is not None
        compares = "max_tokens" in document
        self.log.append(Call(len(self.log), model, prompt, key, compares, request.client.port))
        return await super()._chat(request)


def local_ports(pid: int) -> frozenset[int]:
    """Local ports of the TCP connections of a process."""
    files = (str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
    sockets = {name[8:-1] for name in files if name.startswith("socket:[")}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return frozenset(int(line[1].rpartition(":")[2], 16) for line in lines if line[9] in sockets)


async def explain(store: Store, models: CallLog, *, killed: frozenset[int], prices: Prices) -> dict[str, Any]:
    """Every call beside its row and its bill.

    Args:
        killed: ports of the process that was killed.
    """
    decisions = [row async for rows in store.scan(DecisionFilter()) for row in rows]
    compared, certified, spent = await store.comparisons(), await store.autopilot(), await store.spend(0.0)
    without_row, misbilled = _match(models.log, _bills(decisions, compared), prices)
    judged = {call.prompt for call in models.log if call.model == "judge"}
    left = [call for call in without_row if call.port not in killed]
    only_read = [call for call in left if call.compares and call.prompt not in judged]  # beside a cascade
    return {
        "calls": Counter(call.model for call in models.log),
        "calls_without_row": _by_kind(without_row),
        "only_read": len(only_read),
        "unexplained": [_told(call) for call in left if call not in only_read],
        "bills_that_differ": misbilled,
        "comparison_rows": len(certified),
        "ids": len({row.id for row in certified}),
        "counted": sum(row.counted for row in certified),
        "rows_without_their_comparison": len({row.id for row in certified} ^ {row.id for row in compared}),
        "judged_without_row": len({c.prompt for c in without_row if c.model == "judge"}),
        "mock_usd": round(sum(_usd(call, prices) for call in models.log), 6),
        "rows_usd": round(sum(r.cost_usd or 0.0 for rows in (decisions, compared) for r in rows), 6),
        "ledger_usd": round(sum(row.cost_usd for row in spent), 6),
        "usd_without_row": round(sum(_usd(call, prices) for call in without_row), 6),
        **_beyond_rows(spent, decisions, compared),
        "saved_by_rows_usd": round(_saved(decisions), 6),
        "compared_by_rows_usd": round(sum(row.cost_usd for row in certified), 6),
    }


def _told(call: Call) -> str:
    return f"{call.number} {call.model} {call.key} {'compares' if call.compares else 'answers'}: {call.prompt[:40]}"


def _usd(call: Call, prices: Prices) -> float:
    read, written = prices[call.key][call.model]
    return (read * TOKENS[0] + written * TOKENS[1]) / 1e6


def _bills(
    decisions: Iterable[DecisionRow], compared: Iterable[ComparisonRow]
) -> dict[tuple[str, bool], list[tuple[Counter[str], float]]]:
    """By prompt, and whether it is of a comparison: the models that each row bills, and its dollars."""
    bills = defaultdict[tuple[str, bool], list[tuple[Counter[str], float]]](list)
    of_request = {row.request_id: (row.prompt or "", _tried(row)) for row in decisions}
    for row in decisions:
        bills[row.prompt or "", False].append((_tried(row), row.cost_usd or 0.0))
    for each in compared:
        prompt, tried = of_request[each.request_id]
        bills[prompt, True].append((_asked(each, tried), each.cost_usd or 0.0))
    return bills


def _tried(row: DecisionRow) -> Counter[str]:
    return Counter(said.split()[0] for said in row.trail)


def _asked(row: ComparisonRow, tried: Counter[str]) -> Counter[str]:
    """The models that a comparison asks: a cascade's weak answer that was escalated is there already."""
    return Counter({row.judge: 2} | ({} if row.model_b in tried else {row.model_b: 1}))


def _match(
    log: Iterable[Call], bills: dict[tuple[str, bool], list[tuple[Counter[str], float]]], prices: Prices
) -> tuple[list[Call], list[str]]:
    """The calls that no row bills, and the bills that are not what their calls cost."""
    waiting = defaultdict[tuple[str, bool], list[Call]](list)
    for call in log:
        waiting[call.prompt, call.compares].append(call)
    without_row, misbilled = list[Call](), list[str]()
    for which in waiting.keys() | bills.keys():
        left = waiting[which]
        for models, billed in bills.get(which, []):
            mine = []
            for model in models.elements():
                found = next((c for c in reversed(left) if c.model == model), None)  # the last: it was asked again
                if found is not None:
                    left.remove(found)
                    mine.append(found)
            if len(mine) != models.total() or abs(sum(_usd(c, prices) for c in mine) - billed) > _SAME:
                misbilled.append(f"{billed:.6f} for {dict(models)}: {[_told(call) for call in mine]}")
        without_row += left
    return without_row, misbilled


def _by_kind(calls: Iterable[Call]) -> dict[str, int]:
    return dict(Counter(f"{c.model} {'compares' if c.compares else 'answers'}" for c in calls))


def _beyond_rows(
    spent: Iterable[SpendRow], decisions: Iterable[DecisionRow], compared: Iterable[ComparisonRow]
) -> dict[str, Any]:
    """What the spending holds of calls without a row: their model, number and dollars."""
    by_row, booked = Counter[str](), Counter[str]()
    of_request = {row.request_id: _tried(row) for row in decisions}
    for tried in (_tried(row) for row in decisions):
        by_row.update(tried)
    for each in compared:
        by_row.update(_asked(each, of_request[each.request_id]))
    for total in spent:
        booked[total.model] += total.n_requests
    return {"booked_without_row": dict(booked - by_row), "rows_not_booked": dict(by_row - booked)}


def _saved(decisions: Iterable[DecisionRow]) -> float:
    """Of the requests that the certificate sent to the weak model."""
    rows = [row for row in decisions if row.policy == "autopilot" and row.model != row.reference]
    return sum((row.strong_usd or 0.0) - (row.cost_usd or 0.0) for row in rows)
