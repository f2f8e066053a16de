"""Whether a router is about to be evaluated on prompts that it was trained on."""

import re
from collections.abc import Mapping
from pathlib import Path

from pointsman.backends.data.sources import Source, source_name
from pointsman.core.checkpoint import Checkpoint

__all__ = ["learnt_from"]


def learnt_from(checkpoint: Checkpoint, source: Source) -> bool:
    """Whether the provenance of a checkpoint names a source of this name, wherever it lies."""
    name = re.escape(Path(source_name(source)).stem)
    sources = checkpoint.provenance.get("sources")  # which anybody may have written
    entries = sources if isinstance(sources, (list, tuple, Mapping)) else [sources]
    lines = [entry[0] if isinstance(entry, list) and entry else entry for entry in entries]
    return any(re.search(rf"(^|/){name}(\.\w+)?(:|,|$)", str(line)) for line in lines)
