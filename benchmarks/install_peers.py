"""Makes the environments of the projects that benchmarks are measured against: `python benchmarks/install_peers.py`.

Everything comes from PyPI (torch from its CPU index), pinned. An environment that is there already is left as it is.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["PINNED", "peer_python"]

PEERS = Path(__file__).parents[1] / ".cache" / "peers"
# RouteLLM pins none of these itself, and a fresh install of it does not start without these versions.
PINNED = {
    "routellm": [
        "routellm==0.2.0",
        "numpy==1.26.4",
        "pyarrow==19.0.1",
        "datasets==3.6.0",
        "pandas==3.0.6",
        "scikit-learn==1.9.1",
        "openai==2.54.0",
        "transformers==5.23.0",
        "torch==2.13.0",
    ],
    "semantic_router": ["semantic-router==1.1.1"],
}
_INDEX = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]


def peer_python(name: str) -> str:
    """The interpreter of a peer's environment; variable POINTSMAN_PEER_<NAME> names another one.

    Raises:
        SystemExit: it is not installed.
    """
    python = os.environ.get(f"POINTSMAN_PEER_{name.upper()}", str(PEERS / name / "bin" / "python"))
    if not Path(python).exists():
        raise SystemExit(f"{name} is not installed: run python benchmarks/install_peers.py")
    return python


def main() -> int:
    """Installs what is missing."""
    for name, requirements in PINNED.items():
        folder = PEERS / name
        if (folder / ".complete").exists():
            continue
        venv.create(folder, with_pip=True, clear=True)
        python = folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_INDEX, *requirements], check=True)
        (folder / ".complete").touch()
        print(f"{name}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
