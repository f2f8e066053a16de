"""`pointsman inspect`: shows a checkpoint's contents, or whether a server's prompts have drifted."""

import argparse
import json
from datetime import UTC, datetime
from textwrap import indent
from typing import Any

from pointsman.core.checkpoint import Checkpoint
from pointsman.serve.checkpoints.load import load_checkpoint

__all__ = ["add_arguments", "describe", "run"]

_SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("checkpoint", nargs="?", help="checkpoint directory, or the name of a bundled router (mf)")
    what.add_argument("--server", metavar="URL", help="show the drift status of a running server instead")
    parser.add_argument("--api-key", help="key for the server, or env:NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Reads the checkpoint, checks its files, and prints what is in it; or asks the server."""
    facts = describe(load_checkpoint(args.checkpoint)) if args.server is None else _drift(args.server, args.api_key)
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    if args.server is not None:
        facts = _readable(facts)
    if "metrics" in facts:  # the dashboard draws what was measured at each threshold
        facts["metrics"] = {name: value for name, value in facts["metrics"].items() if name != "labelled"}
    shown = {name: _text(value) for name, value in facts.items() if value not in (None, {}, [])}
    margin = max(map(len, shown), default=0) + 2
    for name, text in shown.items():
        print(name.ljust(margin) + indent(text, " " * margin).lstrip())
    return 0


def _readable(facts: Any) -> Any:
    """The drift status, with evidence and alarm level as one figure: how near an alarm is, in percent."""
    if not isinstance(facts, dict):
        return facts
    kept = {name: _readable(value) for name, value in facts.items() if name not in ("evidence", "level")}
    if isinstance(near := kept.get("towards_alarm"), int | float):
        kept["towards_alarm"] = f"{near:.0%}"
    if isinstance(at := kept.get("at"), int | float):
        kept["at"] = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return kept


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything but the numbers of the arrays, JSON-ready."""
    calibration = checkpoint.calibration
    return {
        "kind": checkpoint.kind,
        "path": str(checkpoint.path) if checkpoint.path else None,
        **_candidates(checkpoint),
        "models": list(checkpoint.models),
        "embedder": None
        if checkpoint.embedder is None
        else {field: getattr(checkpoint.embedder, field) for field in ("name", "revision", "dim", "normalized")},
        "arrays": {name: f"{array.dtype} {list(array.shape)}" for name, array in sorted(checkpoint.arrays.items())},
        "calibration": None
        if calibration is None
        else {
            "source": calibration.source,
            "n_prompts": calibration.n_prompts,
            "thresholds": {
                f"{share:.0%} {'of spending' if _is_of_many(checkpoint) else 'strong'}": round(
                    calibration.threshold(share), 6
                )
                for share in _SHARES
            },
        },
        "thresholds": dict(checkpoint.thresholds),
        "reference": {name: value for name, value in checkpoint.reference.items() if name != "examples"},
        "probability_map": None if checkpoint.probability_map is None else dict(checkpoint.probability_map),
        "options": dict(checkpoint.options),
        "provenance": dict(checkpoint.provenance),
        "metrics": dict(checkpoint.metrics),
    }


def _is_of_many(checkpoint: Checkpoint) -> bool:
    return len(checkpoint.candidates) > 2


def _candidates(checkpoint: Checkpoint) -> dict[str, Any]:
    """What it chooses among: a pair, or more, the reference first."""
    if not _is_of_many(checkpoint):
        return {"pair": {"strong": checkpoint.pair.strong, "weak": checkpoint.pair.weak}}
    return {"candidates": list(checkpoint.candidates)}


def _drift(url: str, api_key: str | None) -> dict[str, Any]:
    """What `GET /v1/drift` answers, one entry per router."""
    from pointsman.serve.commands.ask_server import ask_server

    status = ask_server(url, "/v1/drift", api_key=api_key)
    routers = status.pop("routers")
    return {**routers, **status} if isinstance(routers, dict) else status


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}:{_inside(item)}" for name, item in value.items() if item not in (None, {}, []))
    if isinstance(value, list):
        shown = ", ".join(map(_text, value[:12]))
        return f"{shown}, ... ({len(value):,} in all)" if len(value) > 12 else shown
    return str(value)


def _inside(value: Any) -> str:
    """A value after its name: mappings on lines of their own."""
    return "\n" + indent(_text(value), "  ") if isinstance(value, dict) else " " + _text(value)
