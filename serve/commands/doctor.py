"""`pointsman doctor`: checks what a server needs, and says how to fix each problem."""

import argparse
import json
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from pointsman.core.errors import PointsmanError
from pointsman.serve.commands.arguments import add_config_argument

if TYPE_CHECKING:
    from pointsman.serve.config import Config
    from pointsman.serve.engine.engine import Engine

__all__ = ["add_arguments", "run"]

_PROBE_S = 0.5
_RELEASED = 2026


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one check found: `state` is ok, note (works, but) or problem."""

    what: str
    state: str
    said: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_config_argument(parser, "configuration to check")
    parser.add_argument(
        "--ask", action="store_true", help="also ask each model for one word, which costs next to nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Runs all checks and prints a line for each; returns 1 if there is a problem."""
    findings = list(_checks(args))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.what) for finding in findings)
        print("\n".join(f"{f.state:8}{f.what.ljust(width)}  {f.said}" for f in findings))
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def _checks(args: argparse.Namespace) -> Iterator[_Finding]:
    from importlib.metadata import version

    yield _Finding("versions", "ok", f"Pointsman {version('pointsman')}, Python {platform.python_version()}")
    if args.config is None:
        yield _Finding("configuration", "note", "none here: `pointsman init` writes one; defaults are checked")
    from pointsman.serve.server.launch import LaunchOptions, build_engine

    options = LaunchOptions(config=args.config)
    try:
        config = options.read_config()
    except (PointsmanError, OSError) as error:
        yield _Finding("configuration", "problem", str(error))
        return
    try:
        engine = build_engine(options)
    except (PointsmanError, OSError) as error:
        yield _Finding("configuration", "problem", str(error))
    else:
        if args.config is not None:
            yield _Finding("configuration", "ok", f"{args.config}: routers {', '.join(engine.routers)}")
        yield from _models(config, engine, ask=args.ask)
    yield from _store(config)
    yield _port(config)
    yield _clock()
    if config.server.keys_file is not None:
        from pointsman.serve.auth.keys import read_keys

        yield _tried("access keys", config.server.keys_file, lambda: read_keys(config.server.keys_file or ""))


def _models(config: "Config", engine: "Engine", *, ask: bool) -> Iterator[_Finding]:
    if not config.routed:
        yield _Finding(
            "models",
            "note",
            "none configured, so stand-ins answer; name strong and weak, or candidates, as `pointsman init` does",
        )
        return
    from pointsman.serve.money.price_list import read_price_list

    prices = read_price_list(config)
    for name in engine.upstreams:
        if name not in prices:
            yield _Finding(
                name, "note",
                f"no price is known, so dollars are not shown: give models.{name}.price (or `pointsman init` "
                "--strong-price and --weak-price), or install pointsman[litellm]",
            )  # fmt: skip
        if ask:
            yield _answers(name, config)
        else:
            yield _Finding(name, "ok", "its key is set; --ask sends it a one-word request")


def _answers(name: str, config: "Config") -> _Finding:
    from pointsman.serve.python_api.controller import Controller

    controller = Controller(config=config)
    try:
        answer = controller.completion(model=name, messages=[{"role": "user", "content": "Say ok."}], max_tokens=16)
    except (PointsmanError, OSError) as error:
        return _Finding(name, "problem", f"does not answer: {error}")
    finally:
        controller.close()
    return _Finding(name, "ok", f"answers as {dict(answer).get('model', name)}")


def _store(config: "Config") -> Iterator[_Finding]:
    if config.store is None:
        yield _Finding(
            "store",
            "note",
            "none configured, so no spending, feedback or replay; `store: {}` keeps them in pointsman.db",
        )
        return
    from pointsman.serve.store.opening import check_store

    store = config.store
    yield _tried("store", f"{store.url if not store.url.startswith('env:') else 'database'} can be written",
                 lambda: check_store(store, create=False))  # fmt: skip


def _port(config: "Config") -> _Finding:
    """Whether a server could listen; a Pointsman already listening is fine."""
    found = _tried("port", f"{config.server.host}:{config.server.port} is free", lambda: _bind(config))
    if found.state == "problem" and _is_pointsman(config):
        return _Finding("port", "ok", f"a Pointsman serves at {config.server.host}:{config.server.port}")
    return found


def _is_pointsman(config: "Config") -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.host, config.server.host)
    connection = HTTPConnection(host, config.server.port, timeout=_PROBE_S)
    try:
        connection.request("GET", "/ready")
        found = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(found, dict) and {"status", "models", "config"} <= found.keys()


def _clock() -> _Finding:
    now = datetime.now(UTC)
    said = f"{now:%Y-%m-%d %H:%M} UTC"
    if now.year < _RELEASED:
        return _Finding(
            "clock", "problem", f"{said} is before this version was released: budgets and schedules need the right time"
        )
    return _Finding("clock", "ok", said)


def _tried(what: str, fine: str, check: Callable[[], object]) -> _Finding:
    try:
        check()
    except (PointsmanError, OSError) as error:
        return _Finding(what, "problem", str(error))
    return _Finding(what, "ok", fine)


def _bind(config: "Config") -> None:
    from pointsman.serve.commands.serve import bind

    found: socket.socket = bind(config)
    found.close()
