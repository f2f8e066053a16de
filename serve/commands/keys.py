"""`pointsman keys`: makes, lists and revokes access keys."""

import argparse
import json
import time
from pathlib import Path

from pointsman.serve.keys import AccessKey, new_key, read_keys, revoke_key, write_keys

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it, this one time")
    create.add_argument("name", help="whose it is")
    create.add_argument("--models", nargs="+", metavar="PATTERN", help="model fields it may ask for, e.g. 'router-mf*'")
    create.add_argument("--requests-per-minute", type=int, help="limit (default: none)")
    create.add_argument("--tier", help="label for policies")
    listing = actions.add_parser("list", help="all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="make a key invalid; a running server follows within a second")
    revoke.add_argument("id", help="the key's id, as `list` shows it")
    for action in (create, listing, revoke):
        action.add_argument("--file", default="keys.json", help="key file (default: keys.json)")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Does the action and prints its result."""
    exists = Path(args.file).exists()
    keys = {} if args.action == "create" and not exists else read_keys(args.file)
    if args.action == "create":
        models = tuple(args.models) if args.models else None
        key, text = new_key(args.name, models=models, requests_per_minute=args.requests_per_minute, tier=args.tier)
        write_keys(args.file, {**keys, key.id: key})
        print(json.dumps({"id": key.id, "key": text}) if args.json else text)
    elif args.action == "revoke":
        write_keys(args.file, revoke_key(keys, args.id))
        print(json.dumps({"revoked": args.id}) if args.json else f"revoked {args.id}")
    elif args.json:
        print(json.dumps([_facts(key) for key in keys.values()]))
    else:
        for key in keys.values():
            print("  ".join(str(value) for value in _facts(key).values() if value is not None))
    return 0


def _facts(key: AccessKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "created": time.strftime("%Y-%m-%d", time.gmtime(key.created)),
        "models": ",".join(key.models) if key.models is not None else None,
        "requests_per_minute": key.requests_per_minute,
        "tier": key.tier,
    }
