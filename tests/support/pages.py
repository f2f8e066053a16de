"""Documentation pages as programs: their blocks become one script, whose output is compared with what the page says.

    sh         commands
    console    commands after "$ ", each followed by what it prints; "..." stands for anything
    python     a program
    yaml       a configuration, which is checked

A comment before a block says what else is to be done with it:

    <!-- file: NAME -->              it is the content of that file
    <!-- another terminal -->        it runs in the background, in place of what runs there; the next block
                                     begins when a server answers
    <!-- not run: REASON -->         it is not run
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Mismatch", "read_blocks", "reader_environment", "run_page"]

PORT = "6060"
_FENCE = re.compile(
    r"(?:<!-- (?P<mark>file: \S+|another terminal|not run: [^>]+) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_SPACE = re.compile(r"\s+")
_PROLOGUE = f"""set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
stop_server() {{ kill $(jobs -p) 2>/dev/null && wait || true; }}
wait_for_server() {{
    for _ in $(seq 1200); do curl -sf http://127.0.0.1:{PORT}/health >/dev/null && return; sleep 0.1; done
    echo "no server answers" >&2
    return 1
}}"""


class Mismatch(AssertionError):  # noqa: N818  (a failed assertion, by its own name)
    """A page prints something else than it says, or a block fails."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: what follows the fence.
        text: between the fences.
        line: of the page, from 1.
        mark: the comment before it; "" if there is none.
    """

    language: str
    text: str
    line: int
    mark: str

    def commands(self) -> Iterator[tuple[str, str | None]]:
        """What it runs, each with what it is to print; None where the page does not say."""
        if self.language == "python":
            yield f"python - <<'PYTHON'\n{self.text}PYTHON", None
        elif self.language == "console":
            for piece in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
                command, output = _split_output(piece)
                yield command, output
        else:
            yield self.text.rstrip("\n"), None


def read_blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(match["language"], match["text"], page.count("\n", 0, match.start("text")), match["mark"] or "")
        for match in _FENCE.finditer(page)
    ]


def run_page(page: Path, folder: Path, *, port: int, commands: str | None = None, timeout_s: float = 900.0) -> None:
    """Runs a page's blocks in order, in one shell, in `folder`.

    Args:
        page: a Markdown file.
        folder: an empty one.
        port: which stands for the page's.
        commands: a folder of programs that come before those of the environment.

    Raises:
        Mismatch: a command failed, or printed something else.
    """
    checks: list[tuple[Block, str, str | None]] = []
    script = [_PROLOGUE]
    for block in read_blocks(page.read_text(encoding="utf-8")):
        if block.mark.startswith("file: "):
            _write(folder / block.mark[6:], block.text.replace(PORT, str(port)))
        elif block.language in ("sh", "console", "python") and not block.mark.startswith("not run"):
            for command, output in block.commands():
                checks.append((block, command, output))
                script.append(f"printf '\\n%s\\n' '{_marker(len(checks))}' | tee /dev/stderr")
                script.append(_in_background(command, port) if block.mark == "another terminal" else command)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script).replace(PORT, str(port))],
        cwd=folder, env=reader_environment(folder, commands), capture_output=True, text=True, timeout=timeout_s,
        check=False,
    )  # fmt: skip
    printed = re.split(r"^--- block \d+ ---\n", done.stdout, flags=re.MULTILINE)[1:]
    if done.returncode:
        block, command, _ = checks[len(printed) - 1]
        said = done.stderr.rpartition(_marker(len(printed)))[2][-3000:]
        raise Mismatch(f"{page.name}:{block.line}: exit status {done.returncode}\n$ {command}\n{printed[-1]}\n{said}")
    for (block, command, wanted), output in zip(checks, printed, strict=True):
        output = output.replace(str(port), PORT)
        if wanted is not None and not _matches(wanted, output):
            raise Mismatch(f"{page.name}:{block.line}:\n$ {command}\n--- says\n{wanted}\n--- prints\n{output}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _marker(number: int) -> str:
    return f"--- block {number} ---"


def _in_background(command: str, port: int) -> str:
    """`command` with the page's port, and a wait for its server."""
    words = command.strip() if " --port" in command else f"{command.strip()} --port {port}"
    return f"stop_server\n{words} &\nwait_for_server"


def reader_environment(home: Path, commands: str | None = None) -> dict[str, str]:
    """A reader's: the environment that runs the tests, a home of his own, and no key; JAX compiles as for the tests."""
    binaries = [*([] if commands is None else [commands]), str(Path(sys.executable).parent)]
    return {
        "PATH": ":".join([*binaries, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "COLUMNS": "120",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "XLA_FLAGS": os.environ["XLA_FLAGS"],
    }


def _split_output(piece: str) -> tuple[str, str]:
    """A command with its continued lines, and what follows."""
    lines = piece.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.endswith("\\")), len(lines) - 1) + 1
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def _matches(wanted: str, output: str) -> bool:
    """Whether they are equal but for white space, and for what "..." stands for."""
    gap = r"\s?.*?\s?"
    pattern = gap.join(re.escape(_SPACE.sub(" ", part).strip()) for part in wanted.split("..."))
    return re.fullmatch(pattern, _SPACE.sub(" ", output).strip(), re.DOTALL) is not None
