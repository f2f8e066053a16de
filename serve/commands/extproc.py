"""`pointsman extproc`: Envoy's external processor, and the HTTP server beside it."""

import argparse
import sys

from pointsman.serve.commands.arguments import add_config_argument
from pointsman.serve.commands.serve import bind, exposure, server_url

__all__ = ["add_arguments", "run"]

_LOOPBACK = ("unix:", "127.0.0.1:", "[::1]:", "localhost:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_config_argument(parser, "YAML file, as for `pointsman serve`")
    parser.add_argument(
        "--listen", default="127.0.0.1:50051", help="HOST:PORT or unix:PATH for Envoy (default: 127.0.0.1:50051)"
    )
    parser.add_argument("--host", help="address of the HTTP server, with /health and /metrics (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="its port, 0 for a free one (default: 6060)")
    parser.add_argument(
        "--model-header",
        action="append",
        metavar="NAME",
        help="header that carries the chosen model, repeatable (default: x-pointsman-model)",
    )
    parser.add_argument(
        "--routed-model",
        action="append",
        default=[],
        metavar="MODEL",
        help="route requests for this model like `auto`; without a decision, they still name a model; repeatable",
    )
    parser.add_argument("--keep-body", action="store_true", help="only set the headers; do not write the model into it")
    parser.add_argument(
        "--deadline-s",
        type=float,
        default=0.15,
        help="deadline of a decision; after it a request passes unchanged (0.15)",
    )
    parser.add_argument("--trusted-network", action="store_true", help="let --listen be an address beyond loopback")


def run(args: argparse.Namespace) -> int:
    """Loads everything, and decides until it is stopped."""
    from pointsman.serve.scale.extproc import ProcessorOptions
    from pointsman.serve.scale.extproc_server import ExternalProcessorServer
    from pointsman.serve.server.launch import LaunchOptions, build_engine, run_server

    if not args.listen.startswith(_LOOPBACK) and not args.trusted_network:
        print(
            f"pointsman extproc: --listen is {args.listen}, where everyone who reaches it could learn the models: "
            "listen on loopback or a Unix socket beside Envoy, or say --trusted-network",
            file=sys.stderr,
        )
        return 2
    if not args.deadline_s > 0.0:
        print(f"pointsman extproc: --deadline-s is {args.deadline_s}, wanted a positive number", file=sys.stderr)
        return 2
    options = ProcessorOptions(
        model_headers=tuple(name.lower() for name in args.model_header or ("x-pointsman-model",)),
        rewrite_body=not args.keep_body,
        routed_models=frozenset(args.routed_model),
        deadline_s=args.deadline_s,
    )
    processor = ExternalProcessorServer(args.listen, options)
    launch = LaunchOptions(config=args.config, host=args.host, port=args.port)
    engine = build_engine(launch)
    if problem := exposure(engine.config, allowed=False):
        print(f"pointsman extproc: {problem}", file=sys.stderr)
        return 2
    with bind(engine.config) as listener:
        url = server_url(listener)
        print(f"Pointsman serves {url}/v1 and decides for Envoy at {args.listen}", file=sys.stderr, flush=True)
        run_server(engine.config, launch, listener, engine, (processor,))
    return 0
