"""`pointsman usage`: requests, tokens, cost and savings, grouped by day, model, key, policy or rule."""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pointsman.core.counted import counted
from pointsman.core.dollars import dollar_column, dollars
from pointsman.serve.commands.arguments import add_config_argument, found_config

if TYPE_CHECKING:
    from pointsman.serve.config import Config
    from pointsman.serve.money.savings import Savings
    from pointsman.serve.store.queries import Total

__all__ = ["add_arguments", "run"]

_GROUPS = {
    "hour": "slot",
    "day": "slot",
    "month": "slot",
    "model": "model",
    "key": "key_id",
    "policy": "policy",
    "rule": "rule",
}
_FORMATS = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
_COUNTS = ("n_requests", "n_answered", "n_priced", "n_estimated", "input_tokens", "cached_tokens", "output_tokens")
_DOLLARS = ("cost_usd", "saved_usd")
_HEADS = ("requests", "answered", "priced", "estimated", "input", "cached", "output", "cost $", "saved $")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    source = parser.add_mutually_exclusive_group(required=found_config() is None)
    add_config_argument(source, "configuration file, for the store, the pair and the prices")
    source.add_argument("--store", metavar="URL", help="URL of the store instead, e.g. sqlite:///pointsman.db")
    parser.add_argument(
        "--by", nargs="+", choices=list(_GROUPS), default=["day"], help="how to group requests (default: day)"
    )
    parser.add_argument("--since", metavar="WHEN", help="first date or time, e.g. 2026-11-01 or 2026-11-01T08:00")
    parser.add_argument("--until", metavar="WHEN", help="date or time to stop before")
    parser.add_argument("--days", type=float, help="only the last DAYS days")
    parser.add_argument("--timezone", help="time zone of days and dates (default: the policy's, else UTC)")
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="confidence of the interval of the savings (default: 0.95)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Reads the store and prints the table."""
    from pointsman.serve.config.load import make_config, read_values

    if args.days is not None and (args.since or not args.days > 0):
        raise ValueError("--days needs a positive number and cannot be combined with --since")
    config = make_config(read_values(args.config), source=f"config file {args.config}") if args.config else None
    zone = _zone(args.timezone or (config.policy.timezone if config is not None else "UTC"))
    since = time.time() - 86_400.0 * args.days if args.days is not None else _moment(args.since, zone)
    until = _moment(args.until, zone)
    totals, savings, names = asyncio.run(_read(args, config, since, until))
    rows = _rows(totals, args.by, zone)
    whole = _sum([row.total for row in rows])
    if args.json:
        named = [{**dict(zip(args.by, row.group, strict=True)), **_facts(row.total)} for row in rows]
        print(json.dumps({"rows": named, "total": _facts(whole), "savings": asdict(savings)}))
    else:
        print("\n".join([*_table(_named(rows, args.by, names), whole, args.by), "", *_savings_lines(savings)]))
    return 0


@dataclass(frozen=True, slots=True)
class _Row:
    group: tuple[str, ...]
    total: "Total"


async def _read(
    args: argparse.Namespace, config: "Config | None", since: float | None, until: float | None
) -> "tuple[list[Total], Savings, dict[str, str]]":
    """Totals, savings, and the known names of keys by id."""
    from pointsman.serve.auth.keys import read_keys
    from pointsman.serve.money.price_list import read_price_list
    from pointsman.serve.money.savings import read_savings
    from pointsman.serve.store.opening import open_store
    from pointsman.serve.store.queries import DecisionFilter

    strong = next(iter(config.routed), None) if config is not None else None
    listed = read_price_list(config).get(strong) if config is not None and strong is not None else None
    async with open_store(args.store, config=args.config) as store:
        groups: list[Any] = [_GROUPS[name] for name in args.by]
        totals = await store.totals(by=groups, chosen=DecisionFilter(since=since, until=until))
        savings = await read_savings(
            store,
            strong=strong,
            price=listed.price if listed is not None else None,
            since=since,
            until=until,
            confidence=args.confidence,
        )
        keys = await store.keys()
    if config is not None and config.server.keys_file is not None:
        keys |= read_keys(config.server.keys_file)
    return totals, savings, {key.id: key.name for key in keys.values()}


def _rows(totals: "Sequence[Total]", by: Sequence[str], zone: ZoneInfo) -> list[_Row]:
    """The store's quarter-hour totals, grouped by hour, day or month of a time zone."""
    found: dict[tuple[str, ...], list[Total]] = {}
    for total in totals:
        group = tuple(_label(name, value, zone) for name, value in zip(by, total.group, strict=True))
        found.setdefault(group, []).append(total)
    return [_Row(group, _sum(found[group])) for group in sorted(found)]


def _named(rows: Sequence[_Row], by: Sequence[str], names: Mapping[str, str]) -> list[_Row]:
    """The rows, with the names of keys added."""

    def shown(name: str, value: str) -> str:
        return f"{value} {names[value]}" if name == "key" and value in names else value

    return [_Row(tuple(map(shown, by, row.group)), row.total) for row in rows]


def _label(name: str, value: Any, zone: ZoneInfo) -> str:
    if name in _FORMATS:
        return datetime.fromtimestamp(value, zone).strftime(_FORMATS[name])
    return "-" if value is None else str(value)


def _sum(totals: "Sequence[Total]") -> "Total":
    from pointsman.serve.store.queries import Total

    names = [name for name in Total.__dataclass_fields__ if name != "group"]
    return Total((), **{name: sum(getattr(total, name) for total in totals) for name in names})


def _facts(total: "Total") -> dict[str, Any]:
    facts = {name: getattr(total, name) for name in (*_COUNTS, "cost_usd")}
    return {**facts, "saved_usd": total.strong_usd - total.compared_usd}


def _table(rows: Sequence[_Row], whole: "Total", by: Sequence[str]) -> list[str]:
    every = [*rows, _Row(("all", *[""] * (len(by) - 1)), whole)]
    facts = [_facts(row.total) for row in every]
    money = [dollar_column([each[name] if each["n_priced"] else None for each in facts]) for name in _DOLLARS]
    cells = [[*by, *_HEADS]]
    for row, each, *amounts in zip(every, facts, *money, strict=True):
        cells.append([*row.group, *(f"{each[name]:,}" for name in _COUNTS), *amounts])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    signs = ["<"] * len(by) + [">"] * len(_HEADS)
    return ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(line, signs, widths, strict=True)) for line in cells]


def _savings_lines(savings: "Savings") -> list[str]:
    if not savings.n_requests:
        return ["Savings are unknown: no routed request has known prices for both models."]
    ends = ""
    if savings.low_usd is not None and savings.high_usd is not None:
        ends = f" [{dollars(savings.low_usd)}, {dollars(savings.high_usd)}] with {savings.confidence:.0%} confidence"
    part = f" ({savings.saved_usd / savings.always_strong_usd:.0%})" if savings.always_strong_usd else ""
    lines = [
        f"saved {dollars(savings.saved_usd)}{part}{ends}",
        f"  {counted(savings.n_requests, 'routed request')} cost {dollars(savings.spent_usd)}; "
        f"{savings.reference or 'the strong model'} alone {dollars(savings.always_strong_usd)}",
        f"  by: {savings.method}",
    ]
    if savings.shadow_usd:
        lines.append(f"  shadow comparisons cost another {dollars(savings.shadow_usd)}")
    if savings.reference is not None:
        return [*lines, f"The column saved $ takes {savings.reference}'s answers as long as its labelled or live ones."]
    return [*lines, "The column saved $ assumes that both models' answers are equally long."]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"--timezone is {name!r}, wanted a name such as Europe/Berlin") from None


def _moment(text: str | None, zone: ZoneInfo) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date or time, wanted one such as 2026-11-01 or 2026-11-01T08:00") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
