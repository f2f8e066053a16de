"""Prices: what tokens cost, and where the prices of the configured models are from."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import ConfigError, MissingExtraError
from pointsman.core.prices import Price
from pointsman.serve.config.load import make_config
from pointsman.serve.money.price_list import read_price_list

dollars = st.floats(0, 1000).map(lambda value: round(value, 6))
counts = st.integers(0, 10_000_000)


@given(dollars, dollars, dollars, dollars, dollars, st.tuples(counts, counts, counts, counts))
def test_a_cost_is_its_parts(read, written, cached, kept, per_request, tokens):
    """Exact decimal arithmetic gives the same to within a millionth of a cent; each token has one price."""
    n_read, n_written, n_cached, n_kept = tokens
    n_cached = min(n_cached, n_read)
    n_kept = min(n_kept, n_read - n_cached)
    price = Price(read, written, cached, kept, per_request)
    found = price.cost_usd(n_read, n_written, cached_tokens=n_cached, cache_write_tokens=n_kept)
    parts = [(n_read - n_cached - n_kept, read), (n_cached, cached), (n_kept, kept), (n_written, written)]
    exact = sum(Decimal(n) * Decimal(str(usd)) for n, usd in parts) / 1_000_000 + Decimal(str(per_request))
    assert found == pytest.approx(float(exact), abs=1e-8, rel=1e-12)


def test_ten_thousand_costs_add_up_to_the_cent():
    """Sums of binary fractions stay far within a cent of the exact one."""
    price = Price(0.15, 0.6)
    total = sum(price.cost_usd(n, 7 * n) for n in range(10_000))
    exact = sum((Decimal(n) * Decimal("0.15") + Decimal(7 * n) * Decimal("0.6")) / 1_000_000 for n in range(10_000))
    assert abs(Decimal(total) - exact) < Decimal("1e-9")


def test_cached_tokens_cost_what_others_do_unless_said():
    """Without a price of their own; more cached tokens than tokens count as all of them."""
    assert Price(2.0, 3.0).cost_usd(1_000_000, 0, cached_tokens=400_000) == 2.0
    assert Price(2.0, 3.0, 1.0).cost_usd(1_000_000, 0, cached_tokens=400_000) == pytest.approx(1.6)
    assert Price(2.0, 3.0, 1.0).cost_usd(1_000_000, 0, cached_tokens=9_000_000) == 1.0


def test_zero_is_a_price():
    """As of a model that one runs oneself."""
    assert Price(0.0, 0.0).cost_usd(10, 10) == 0.0


@pytest.mark.parametrize("field", ["input_usd", "output_usd", "cached_input_usd", "cache_write_usd", "per_request_usd"])
@pytest.mark.parametrize("value", [-0.01, math.nan, math.inf])
def test_negative_prices_are_refused(field, value):
    """The message names the price."""
    values = {"input_usd": 1.0, "output_usd": 1.0, field: value}
    with pytest.raises(ValueError, match=field):
        Price(**values)


def configured(**model):
    return {"strong": "big", "weak": "small", "models": {"big": {"base_url": "http://h/v1", **model}, "small": LOCAL}}


LOCAL = {"base_url": "http://h/v1"}
FULL = {
    "input_usd_per_million": 2.5,
    "output_usd_per_million": 10.0,
    "cached_input_usd_per_million": 1.25,
    "cache_write_usd_per_million": 3.0,
    "per_request_usd": 0.01,
}


def test_configured_prices_are_taken():
    """With their source; a model at a URL of one's own has no other."""
    price_list = read_price_list(make_config(configured(price=FULL)))
    assert set(price_list) == {"big"}
    assert price_list["big"].price == Price(2.5, 10.0, 1.25, 3.0, 0.01)
    assert price_list["big"].source == "configuration"


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ({**FULL, "input_usd_per_million": -1.0}, "models.big.price.*wanted at least 0"),
        ({**FULL, "output_usd_per_million": math.nan}, "finite"),
        ({"input_usd_per_million": 1.0}, "output_usd_per_million"),
        ({**FULL, "usd": 1.0}, "not a known key"),
        ("cheap", "litellm"),
        (3.0, "models.big.price"),
    ],
)
def test_prices_that_are_none_are_refused(price, problem):
    """The message names the path."""
    with pytest.raises(ConfigError, match=problem):
        make_config(configured(price=price))


def test_litellms_table_is_read_as_data():
    """By the model string, by an entry that is named, or without the provider where the entry is the same one's."""
    pytest.importorskip("litellm", reason="the table is LiteLLM's")
    for model, key in (({"price": "litellm:gpt-4o"}, "gpt-4o"), ({"price": "litellm", "model": "gpt-4o"}, "gpt-4o")):
        listed = read_price_list(make_config(configured(**model)))["big"]
        assert listed.price == Price(2.5, 10.0, 1.25)
        assert listed.source.startswith("LiteLLM ")
        assert f'"{key}"' in listed.source
    listed = read_price_list(make_config(configured(price="litellm:openai/gpt-4o")))["big"]
    assert listed.price == Price(2.5, 10.0, 1.25)


def test_models_of_known_providers_are_looked_up(monkeypatch):
    """Without a URL of their own the model string tells what they cost; what the table does not have is not known."""
    pytest.importorskip("litellm", reason="the table is LiteLLM's")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    price_list = read_price_list(make_config(strong="gpt-4o", weak="ollama/my-own"))
    assert price_list["gpt-4o"].price.output_usd == 10.0
    assert "ollama/my-own" not in price_list


def test_what_the_table_has_not_is_told():
    """A price that was asked for and is not there is an error with a way out."""
    pytest.importorskip("litellm", reason="the table is LiteLLM's")
    with pytest.raises(ConfigError, match="no price per token for 'nobodys-model'"):
        read_price_list(make_config(configured(price="litellm:nobodys-model")))


def test_without_litellm_nothing_is_looked_up(monkeypatch):
    """Prices are then not known, unless the table was asked for by name."""
    monkeypatch.setattr("pointsman.serve.money.price_list.find_spec", lambda name: None)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert read_price_list(make_config(strong="gpt-4o", weak="gpt-4o-mini")) == {}
    with pytest.raises(MissingExtraError):
        read_price_list(make_config(configured(price="litellm:gpt-4o")))
