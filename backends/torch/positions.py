"""How many tokens a transformer has positions for."""

from typing import Any

from torch import nn

__all__ = ["position_limit"]

_FIRST_POSITION = 2


def position_limit(model: nn.Module) -> int | None:
    """Most tokens that the model reads; None without a limit.

    Its `max_position_embeddings`, less the positions that come before the first token: RoBERTa and its kin (CamemBERT,
    XLM-R, Longformer, MPNet, ...) number positions from behind the padding id on, which is why their table of positions
    has a padding row and counts two more than they can read.
    """
    limit = getattr(_text_config(model), "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:  # XLNet says -1
        return None
    for name, module in model.named_modules():
        if "position" in name and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = min(limit, module.num_embeddings) - max(int(module.padding_idx) + 1, _FIRST_POSITION)
            break
    return limit


def _text_config(model: nn.Module) -> Any:
    config: Any = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
