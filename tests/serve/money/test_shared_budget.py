"""Two server processes on one PostgreSQL hold one budget."""

import json

import httpx
import pytest

from support.charging import ChargingUpstream, config_for
from support.processes import ServerProcess, wait_until
from support.upstream import LocalServer

BUDGET_USD = 1.0


@pytest.fixture(scope="module")
def client():
    with httpx.Client() as made:
        yield made


def ask(client, server, model, number, told="model"):
    """Who answered, or what else the answer tells."""
    body = {"model": model, "messages": [{"role": "user", "content": f"plain {number} 40 please"}]}
    answer = client.post(f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return answer.headers[f"x-pointsman-{told}"]


def is_answered(client, server, model, number):
    """Whether there was money for the model."""
    body = {"model": model, "messages": [{"role": "user", "content": f"plain {number} 40 please"}]}
    answer = client.post(f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code in (200, 429), answer.text
    return answer.status_code == 200


@pytest.fixture
def servers(postgres_url, tmp_path, noon):
    """Two processes of one configuration, and the upstream behind both."""
    upstream = ChargingUpstream()
    with LocalServer(upstream.app()) as up:
        values = config_for(f"{up.url}/v1")
        values["routers"] = {"random": {"threshold": 0.0}}
        values["store"] = {"url": postgres_url}
        budget = {"usd": BUDGET_USD, "hard": True}
        values["policy"] = {"budgets": [budget], "requests_per_hour": [1.0] * 24, "timezone": noon}
        path = tmp_path / "pointsman.yaml"
        path.write_text(json.dumps(values))
        with ServerProcess("--config", str(path)) as one, ServerProcess("--config", str(path)) as two:
            yield one, two, upstream


def test_what_one_process_spends_is_spent_for_all(servers, client, tmp_path):
    """Once one has spent the ceiling, another that spent next to nothing soon stops asking the strong model, too.

    A third that starts then never does, and their metrics add up to what the upstream charged.
    """
    one, two, upstream = servers
    assert (ask(client, one, "auto", 1), ask(client, two, "auto", 2)) == ("big", "big")
    number = iter(range(10, 10_000))
    while is_answered(client, one, "big", next(number)):
        assert upstream.ledger["big-1"] <= BUDGET_USD
    wait_until(lambda: {ask(client, server, "auto", next(number)) for server in (one, two) * 5} == {"small"})
    spent = upstream.ledger["big-1"]
    assert spent <= BUDGET_USD
    assert [ask(client, server, "auto", next(number)) for server in (one, two) * 10] == ["small"] * 20
    ours = sum(server.metric("pointsman_spend_usd_total") for server in (one, two))
    assert ours == pytest.approx(float(sum(upstream.ledger.values())), abs=1e-6)
    with ServerProcess("--config", str(tmp_path / "pointsman.yaml")) as third:
        assert {ask(client, third, "auto", next(number)) for _ in range(10)} == {"small"}
    assert upstream.ledger["big-1"] == spent
