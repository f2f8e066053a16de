"""The price list of the configured models: from the configuration, or from LiteLLM's table, read as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from pointsman.core.errors import ConfigError, MissingExtraError
from pointsman.core.prices import Price
from pointsman.serve.config import Config, ModelConfig
from pointsman.serve.config.prices import PriceConfig

__all__ = ["ListedPrice", "read_price_list"]

_TABLE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """A price and its source.

    Attributes:
        source: e.g. "configuration", or 'LiteLLM 1.80.0, "gpt-4o"'.
    """

    price: Price
    source: str


def read_price_list(config: Config) -> dict[str, ListedPrice]:
    """The known prices, by model.

    Raises:
        ConfigError: a price should come from LiteLLM's table, but is not in it.
        MissingExtraError: LiteLLM is needed for a price and not installed.
    """
    names = dict.fromkeys([*config.routed, *config.models])
    price_list: dict[str, ListedPrice] = {}
    table: _Table | None = None
    for name in names:
        model = config.settings_of(name)
        if isinstance(model.price, PriceConfig):
            price_list[name] = ListedPrice(model.price.price(), "configuration")
        elif model.price is not None or model.base_url is None:
            table = table or _Table()
            if (found := _look_up(table, name, model)) is not None:
                price_list[name] = found
    return price_list


def _look_up(table: "_Table", name: str, model: ModelConfig) -> ListedPrice | None:
    if model.price is None:
        return table.find(model.model or name)
    if table.text is None:
        raise MissingExtraError("litellm", "litellm")
    key = str(model.price).partition(":")[2] or model.model or name
    found = table.find(key)
    if found is None:
        raise ConfigError(
            f"models.{name}.price is {model.price!r}, and LiteLLM's table has no price per token for {key!r}; "
            "name another entry as litellm:KEY, or give input_usd_per_million and output_usd_per_million"
        )
    return found


class _Table:
    """LiteLLM's table; its `text` is None where LiteLLM is not installed."""

    def __init__(self) -> None:
        spec = find_spec("litellm")
        folders = (spec.submodule_search_locations if spec is not None else None) or []
        file = next((path for folder in folders if (path := Path(folder) / _TABLE).is_file()), None)
        self.text = file.read_bytes() if file is not None else None

    @cached_property
    def _entries(self) -> Mapping[str, Any]:
        entries: Mapping[str, Any] = orjson.loads(self.text or b"{}")
        return entries

    def find(self, key: str) -> ListedPrice | None:
        """The price of a model string; of its part after the provider if the entry is the same provider's."""
        provider, slash, rest = key.partition("/")
        names = (key, rest) if slash else (key,)
        if self.text is None or not any(f'"{name}"'.encode("utf-8", "replace") in self.text for name in names):
            return None  # to parse it takes a while, and it knows few of the models that people serve themselves
        entry = self._entries.get(key)
        if entry is None and slash and self._entries.get(rest, {}).get("litellm_provider") == provider:
            key, entry = rest, self._entries[rest]
        if not isinstance(entry, dict) or "input_cost_per_token" not in entry:
            return None
        price = Price(
            _per_million(entry, "input_cost_per_token") or 0.0,
            _per_million(entry, "output_cost_per_token") or 0.0,
            _per_million(entry, "cache_read_input_token_cost"),
            _per_million(entry, "cache_creation_input_token_cost"),
            cache_write_hour_usd=_per_million(entry, "cache_creation_input_token_cost_above_1hr"),
            audio_input_usd=_per_million(entry, "input_cost_per_audio_token"),
            audio_output_usd=_per_million(entry, "output_cost_per_audio_token"),
        )
        return ListedPrice(price, f'LiteLLM {version("litellm")}, "{key}"')


def _per_million(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return round(1e6 * value, 9) if isinstance(value, (int, float)) else None
