"""Two server processes on one PostgreSQL hold one budget."""

import itertools
import json
from types import SimpleNamespace

import httpx
import pytest

from support.charging import PRICES, ChargingUpstream, config_for
from support.processes import ForkedServer, wait_until
from support.upstream import LocalServer

BUDGET_USD = 1.0
STRONG = "router-random-0"  # a threshold of its own: nothing but the hard limit sends it to the weak model
MAX_TOKENS = 1500  # allows an answer dearer than any that this upstream gives


def request(model, number):
    """A request of one length for all numbers of four digits, which sets how long its answer may be."""
    messages = [{"role": "user", "content": f"plain {number} 40 please"}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": MAX_TOKENS})


def reserved_usd(body):
    """What the strong model's answer is allowed to cost before it is asked: a third of the bytes, and `MAX_TOKENS`."""
    read, _, written = map(float, PRICES["big-1"])
    return ((len(body) // 3 + 1) * read + MAX_TOKENS * written) / 1e6


@pytest.fixture
def servers(postgres_url, tmp_path, noon):
    """Two processes of one configuration, the upstream behind both, and a way to ask them."""
    upstream, numbers = ChargingUpstream(), itertools.count(1000)
    with LocalServer(upstream.app()) as up, httpx.Client() as client:
        budget = {"usd": BUDGET_USD, "hard": True}
        policy = {"budgets": [budget], "requests_per_hour": [1.0] * 24, "timezone": noon}
        path = tmp_path / "pointsman.yaml"
        path.write_text(json.dumps({**config_for(f"{up.url}/v1"), "store": {"url": postgres_url}, "policy": policy}))

        def ask(server, model):
            """The model that answered; None where too little was left for the one that was named."""
            answer = client.post(f"{server.url}/v1/chat/completions", content=request(model, next(numbers)))
            assert upstream.ledger.get("big-1", 0) <= BUDGET_USD
            assert answer.status_code in (200, 429), answer.text
            return answer.headers["x-pointsman-model"] if answer.status_code == 200 else None

        with ForkedServer("--config", str(path)) as one, ForkedServer("--config", str(path)) as two:
            yield SimpleNamespace(one=one, two=two, upstream=upstream, ask=ask, config=str(path))


def test_what_one_process_spends_is_spent_for_all(servers):
    """At no time is more spent than the ceiling, and one process can spend what another has no use for.

    Once less is left than a request may cost, no process calls the strong model again, nor does one that starts then;
    their metrics add up to what the upstream charged.
    """
    ask, one, two, ledger = servers.ask, servers.one, servers.two, servers.upstream.ledger
    assert [ask(server, STRONG) for server in (one, two)] == ["big", "big"]
    enough = reserved_usd(request("big", 1000))

    def is_exhausted():
        ask(one, "big")
        return BUDGET_USD - float(sum(ledger.values())) < enough

    wait_until(is_exhausted)
    spent = ledger["big-1"]
    assert [ask(server, STRONG) for server in (one, two) * 10] == ["small"] * 20
    assert [ask(server, "big") for server in (one, two)] == [None, None]
    charged = pytest.approx(float(sum(ledger.values())), abs=1e-6)
    wait_until(lambda: sum(server.metric("pointsman_spend_usd_total") for server in (one, two)) == charged)
    with ForkedServer("--config", servers.config) as third:
        assert {ask(third, STRONG) for _ in range(10)} == {"small"}
    assert ledger["big-1"] == spent
