"""Samples a server's own processor time, a thousand times a second of it: `python stage_sampler.py OUT serve ...`.

The whole stack of the main thread is counted per sample. SIGUSR2 forgets what was counted, SIGUSR1 writes it to OUT.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from pointsman.serve.cli import main

_EVERY_S = 0.001
_stacks: Counter[tuple[str, ...]] = Counter()
_out = Path(sys.argv[1])


def _sample(_signal: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def _forget(_signal: int, _frame: FrameType | None) -> None:
    _stacks.clear()


def _write(_signal: int, _frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    whole = _out.with_suffix(".part")
    whole.write_text(json.dumps(list(_stacks.items())))
    whole.rename(_out)


for number, handler in ((signal.SIGPROF, _sample), (signal.SIGUSR2, _forget), (signal.SIGUSR1, _write)):
    signal.signal(number, handler)
signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
sys.argv = ["pointsman", *sys.argv[2:]]
raise SystemExit(main())
