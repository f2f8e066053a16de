"""`pointsman autopilot`: simulates it on a labelled table, or shows and controls it on a server."""

import argparse
import json
import os
from datetime import datetime
from typing import Any

from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.serve.commands import autopilot_simulate
from pointsman.serve.commands.ask_server import ask_server

__all__ = ["add_arguments", "run"]

_SERVER = "http://127.0.0.1:6060"
_ACTIONS = {
    "status": "show what is certified and saved, and what comes next",
    "pause": "pause comparisons until resumed; the certified threshold stays in use",
    "resume": "compare again",
    "rollback": "discard the learned generation being served, and serve the one before it",
    "reset": "void the certificate and start over",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand and its actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    simulate = actions.add_parser("simulate", help="replay a labelled table as traffic, before turning it on")
    autopilot_simulate.add_arguments(simulate)
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("--server", default=_SERVER, metavar="URL", help=f"running server (default: {_SERVER})")
        action.add_argument("--api-key", metavar="KEY", help="an admin key, or env:NAME (default: POINTSMAN_API_KEY)")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the action."""
    if args.action == "simulate":
        return autopilot_simulate.run(args)
    value = None if args.action == "status" else {"action": args.action}
    key = args.api_key or os.environ.get("POINTSMAN_API_KEY")
    facts = ask_server(args.server, "/v1/autopilot", value=value, api_key=key)
    print(json.dumps(facts) if args.json else "\n".join(_lines(facts)))
    return 0


def _lines(facts: dict[str, Any]) -> list[str]:
    bound, compared = facts["bound"], facts["comparisons"]
    loss, after = facts["loss"], facts["next"]
    lines = [
        f"{facts['state']}: {facts['certified_share']:.1%} of the traffic is certified to {facts['weak']}, "
        f"the rest goes to {facts['strong']}",
        f"saved {dollars(facts['saved_usd'])}, {dollars(facts['net_saved_usd'])} after "
        f"{dollars(compared['usd'])} of comparing "
        f"({counted(facts['requests']['n'], 'request')}, {counted(compared['n'], 'comparison')})",
        f"loss at most {bound['max_loss']:g} at every moment, with confidence {bound['confidence']:g}"
        + (f"; estimated {loss['value']:.4f} [{loss['low']:.4f}, {loss['high']:.4f}]" if loss else ""),
    ]
    if 0.0 < facts["certified_share"] <= facts["weak_cost"]:
        lines.append(
            f"not used yet: reading every answer of {facts['weak']} costs {facts['weak_cost']:.1%} of "
            f"{facts['strong']}'s, so more must be certified first"
        )
    if facts["phase"] == "void":
        lines.append(f"void: {facts['why']}; a new generation starts from zero")
    if facts["paused"]:
        lines.append(f"paused: {facts['paused']}")
    if after is not None:
        lines.append(f"next: {after['share']:.1%}, {_needed(after)}")
    for event in facts["events"][-5:]:
        more = ", ".join(f"{name} {value}" for name, value in event.items() if name not in ("at", "what"))
        at = datetime.fromtimestamp(event["at"]).astimezone().isoformat(" ", "seconds")
        lines.append(f"  {at}  {event['what']}" + (f" ({more})" if more else ""))
    return lines


def _needed(after: dict[str, Any]) -> str:
    if after["comparisons"] is None:
        return "never at these losses, whatever the number of comparisons"
    cost = f" ({dollars(after['usd'])})" if "usd" in after else ""
    return f"after about {after['comparisons']:,} more comparisons{cost}"
