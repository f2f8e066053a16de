"""Whether a router is about to be judged on the very prompts that it has learnt from."""

import re
from pathlib import Path

from pointsman.backends.data.tables import Source
from pointsman.core.checkpoint import Checkpoint

__all__ = ["learnt_from"]


def learnt_from(checkpoint: Checkpoint, source: Source) -> bool:
    """Whether the provenance of a checkpoint names a source of this name, wherever it lies."""
    name = re.escape(Path(source).stem)
    sources = checkpoint.provenance.get("sources", ())
    lines = [entry if isinstance(entry, str) else entry[0] for entry in sources]
    return any(re.search(rf"(^|/){name}(\.\w+)?(:|,|$)", line) for line in lines)
