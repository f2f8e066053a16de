"""`pointsman serve`: the HTTP server."""

import argparse
import gc
import json
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.serve.config import Config
from pointsman.serve.commands.arguments import add_config_argument

__all__ = ["add_arguments", "bind", "exposure", "run", "server_url"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand; those of RouteLLM's server have the same names and meanings."""
    parser.add_argument("--routers", nargs="+", metavar="ROUTER", help="routers, the default one first (default: mf)")
    parser.add_argument("--strong-model", help="model for prompts that need it, e.g. gpt-4o or groq/<model>")
    parser.add_argument("--weak-model", help="model for the others, e.g. ollama/llama3.1")
    add_config_argument(parser, "YAML file; options take precedence")
    parser.add_argument("--base-url", help="OpenAI-protocol URL for the models that the config file gives none")
    parser.add_argument("--api-key", help="key for the models that the config file gives none, or env:NAME")
    parser.add_argument("--host", help="address to bind (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to bind, 0 for a free one (default: 6060)")
    parser.add_argument("--workers", type=int, default=1, help="number of worker processes (default: 1)")
    parser.add_argument(
        "--log",
        choices=("auto", "json", "pretty"),
        help="log lines for machines or for people (default: auto, pretty on a terminal and else json)",
    )
    parser.add_argument(
        "--no-keys", action="store_true", help="require no keys even at an address that other machines reach"
    )
    parser.add_argument("--check", action="store_true", help="check configuration, keys and checkpoints, and exit")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of the config file, and exit")


def run(args: argparse.Namespace) -> int:
    """Loads everything, prints what is served, and serves until it is stopped."""
    if args.schema:
        from pointsman.serve.config import json_schema

        print(json.dumps(json_schema(), indent=2))
        return 0
    if args.workers < 1:
        print(f"pointsman serve: --workers is {args.workers}, wanted at least 1", file=sys.stderr)
        return 2
    gc.disable()  # until all is loaded: hardly any of it is garbage
    try:
        return _serve(args)
    finally:
        gc.enable()


def _serve(args: argparse.Namespace) -> int:
    from pointsman.serve.server.launch import LaunchOptions, build_engine, hand_over_key, run_server

    hand_over_key(args.api_key)
    options = LaunchOptions(
        config=args.config,
        routers=tuple(args.routers) if args.routers else None,
        strong=args.strong_model,
        weak=args.weak_model,
        base_url=args.base_url,
        host=args.host,
        port=args.port,
        workers=args.workers,
        log=args.log,
    )
    engine = build_engine(options)
    if problem := exposure(engine.config, allowed=args.no_keys):
        print(f"pointsman serve: {problem}", file=sys.stderr)
        return 2
    if engine.config.server.keys_file is not None:
        from pointsman.serve.auth.keys import read_keys

        read_keys(engine.config.server.keys_file)
    if engine.config.store is not None:
        from pointsman.serve.store.opening import check_store

        check_store(engine.config.store, create=not args.check)
    if args.check:
        print(f"ok: routers {', '.join(engine.routers)}; models {', '.join(engine.upstreams)}")
        return 0
    config, routers, alone = engine.config, list(engine.routers), engine if args.workers == 1 else None
    del engine  # its weights are not held for nothing where workers have their own
    with bind(config) as listener:
        _announce(config, listener, routers=routers)
        run_server(config, options, listener, alone)
    return 0


def exposure(config: "Config", *, allowed: bool) -> str | None:
    """The problem with serving at this address without keys, or None."""
    host = config.server.host
    if allowed or config.server.asks_for_keys or host in ("127.0.0.1", "::1", "localhost"):
        return None
    return (
        f"at {host} everyone who can reach it could spend your money: create access keys with "
        "`pointsman keys create NAME` and name their file as server.keys_file in the config file, or say --no-keys"
    )


def bind(config: "Config") -> socket.socket:
    """A listening socket at the configured address."""
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        said = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise OSError(f"cannot listen on {host} port {port}: {said}; choose another with --port") from error


def server_url(listener: socket.socket) -> str:
    """The URL that a server on this socket has, without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(config: "Config", listener: socket.socket, *, routers: list[str]) -> None:
    url = f"{server_url(listener)}/v1"
    lines = [f"Pointsman serves {url} with {', '.join(f'router-{name}' for name in routers)}"]
    if not config.routed:
        lines += [
            "No models are configured: two built-in stand-ins answer and say which one would have been asked.",
            "Name yours with --strong-model and --weak-model, their keys in the environment.",
        ]
    elif config.candidates:
        lines.append(f"candidates: {', '.join(config.candidates)}   reference: {config.candidates[0]}")
    else:
        lines.append(f"strong: {config.strong}   weak: {config.weak}")
    if config.dashboard.enabled:
        lines.append(f"dashboard: {_reachable(server_url(listener))}/")
    key = "-H 'Authorization: Bearer YOUR-ACCESS-KEY' " if config.server.asks_for_keys else ""
    lines.append(
        f"Try: curl {_reachable(url)}/chat/completions {key}-H 'Content-Type: application/json' "
        """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )
    print("\n".join(lines), file=sys.stderr, flush=True)


def _reachable(url: str) -> str:
    """The URL by which this machine reaches a server that listens on all its addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
