"""`pointsman keys`: makes, lists and revokes access keys, in a file or in the store."""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.errors import ConfigError
from pointsman.serve.auth.keys import AccessKey, locked, new_key, read_keys, revoke_key, write_keys

if TYPE_CHECKING:
    from pointsman.serve.store.store import Store

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a key and print it, this once")
    create.add_argument("name", help="whose it is; no other valid key may have it")
    create.add_argument("--replace", action="store_true", help="revoke the keys that have this name")
    create.add_argument("--models", nargs="+", metavar="PATTERN", help="model fields it may ask for, e.g. 'router-mf*'")
    create.add_argument("--requests-per-minute", type=int, help="most requests per minute (default: no limit)")
    create.add_argument("--tier", help="label for policies")
    create.add_argument(
        "--admin", action="store_true", help="allow it to read decisions and prompts, and to change policies"
    )
    listing = actions.add_parser("list", help="list all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="revoke a key; running servers reject it within a second")
    revoke.add_argument("id", help="the key's id, as `list` shows it")
    for action in (create, listing, revoke):
        place = action.add_mutually_exclusive_group()
        place.add_argument("--file", default="keys.json", help="key file (default: keys.json)")
        place.add_argument("--store", metavar="URL", help="the store that holds the keys, or env:NAME of its URL")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the action and prints its result."""
    keys = _FileKeys(args.file) if args.store is None else _StoreKeys(args.store)
    if args.action == "create":
        models = tuple(args.models) if args.models else None
        limit = args.requests_per_minute
        key, text = new_key(args.name, models=models, requests_per_minute=limit, tier=args.tier, admin=args.admin)
        same = [other.id for other in keys.read(create=True).values() if other.name == key.name]
        if same and not args.replace:
            raise ConfigError(
                f"a key named {key.name!r} already exists ({', '.join(same)}): choose another name, "
                "or revoke it with --replace"
            )
        keys.add(key)
        print(json.dumps({"id": key.id, "key": text}) if args.json else text)
        for other in same:
            keys.revoke(other)
    elif args.action == "revoke":
        keys.revoke(args.id)
        print(json.dumps({"revoked": args.id}) if args.json else f"revoked {args.id}")
    elif args.json:
        print(json.dumps([_facts(key) for key in keys.read().values()]))
    else:
        for key in keys.read().values():
            print("  ".join(_words(key)))
    return 0


class _FileKeys:
    """The keys in a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, *, create: bool = False) -> Mapping[str, AccessKey]:
        return {} if create and not Path(self._path).exists() else read_keys(self._path)

    def add(self, key: AccessKey) -> None:
        with locked(self._path):
            write_keys(self._path, {**self.read(create=True), key.id: key})

    def revoke(self, key_id: str) -> None:
        with locked(self._path):
            write_keys(self._path, revoke_key(self.read(), key_id))


class _StoreKeys:
    """The keys in a store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self, *, create: bool = False) -> Mapping[str, AccessKey]:
        return asyncio.run(self._read(create=create))

    def add(self, key: AccessKey) -> None:
        asyncio.run(self._add(key))

    def revoke(self, key_id: str) -> None:
        asyncio.run(self._revoke(key_id))

    async def _read(self, *, create: bool) -> Mapping[str, AccessKey]:
        async with _open(self._url, create=create) as store:
            return await store.keys()

    async def _add(self, key: AccessKey) -> None:
        async with _open(self._url) as store:
            await store.add_key(key)

    async def _revoke(self, key_id: str) -> None:
        async with _open(self._url) as store:
            if not await store.revoke_key(key_id):
                raise ConfigError(
                    f"there is no key {key_id!r}; existing keys: {', '.join(await store.keys()) or 'none'}"
                )


def _open(url: str, *, create: bool = False) -> "Store":
    from pointsman.serve.store.opening import open_store

    return open_store(url, create=create)


def _facts(key: AccessKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "created": time.strftime("%Y-%m-%d", time.gmtime(key.created)),
        "models": ",".join(key.models) if key.models is not None else None,
        "requests_per_minute": key.requests_per_minute,
        "tier": key.tier,
        "admin": key.admin,
    }


def _words(key: AccessKey) -> list[str]:
    facts = _facts(key)
    return [str(value) for value in facts.values() if value not in (None, True, False)] + ["admin"] * key.admin
