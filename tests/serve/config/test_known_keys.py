"""Hints at what an unknown key of the configuration may mean."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import ConfigError
from pointsman.serve.config.known_keys import hint, keys_at
from pointsman.serve.config.load import make_config

_PATHS = [
    ("models", "gpt-4.1", "price"),
    ("models", "gpt-4.1", "timeouts"),
    ("policy", "budgets", 0),
    ("routers", "mf"),
    ("server",),
    ("store",),
    ("shadow",),
    (),
]
_KEYS = [(path, key) for path in _PATHS for key in keys_at(path)]


@given(st.sampled_from(_KEYS), st.data())
def test_a_misspelt_key_is_hinted_at_where_it_stands(place, data):
    """A key with one letter left out means a key of the same mapping, whatever other mappings have."""
    path, key = place
    at = data.draw(st.integers(0, len(key) - 1))
    wrong = key[:at] + key[at + 1 :]
    if wrong in keys_at(path):
        return
    said = hint(path, wrong)
    meant = re.fullmatch(r"; did you mean (\w+)\?", said)
    assert len(key) < 4 or (meant and meant.group(1) in keys_at(path)), (path, wrong, said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"models": {"gpt-4.1": {"price": {"output": 3}}}},
            "models.gpt-4.1.price.output: is not a known key; did you mean output_usd_per_million?",
        ),
        ({"models": {"m": {"key": "x"}}}, "models.m.key: is not a known key; did you mean api_key?"),
        ({"telemetry": {"endpoint": "x"}}, "telemetry.endpoint: is not a known key; wanted one of traces"),
        ({"port": 80}, "port: is not a known key; it belongs to server"),
        ({"price": {}}, "price: is not a known key; it belongs to models.<name>"),
        ({"server": {"fallback": "none"}}, "server.fallback: is not a known key; it belongs to the top level"),
        ({"server": {"tls": {}}}, "server.tls: is not a known key; `pointsman serve --schema` lists all"),
        ({"candidates": "a"}, "candidates: wanted a list"),
        ({"store": "sqlite:///x.db"}, "store: wanted a mapping of its settings (url, prompts, ...)"),
    ],
)
def test_kinds_of_hints(values, said):
    """Words of a key, another mapping's key, the few keys there are, or where all are listed."""
    with pytest.raises(ConfigError) as caught:
        make_config(values)
    assert said in [line.strip() for line in str(caught.value).splitlines()]
