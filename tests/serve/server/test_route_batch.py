"""POST /v1/route with many prompts."""

import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient

from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.config.load import make_config
from pointsman.serve.protocols.requests import make_question
from pointsman.serve.server.app import create_app

PROMPTS = ["Hi", "", "Prove that 2 is prime.", "Write a haiku. " * 40, "\U0001f600 name it", "Hi"] * 3


@pytest.fixture
async def client():
    app = create_app(make_config({"routers": {"mf": {}, "random": {}}}))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as made:
        yield made
    await app.engine.close()


async def test_each_decision_is_that_of_its_prompt_alone(client):
    """A batch decides as single requests do; its win rates are, to the bit, the router's own on the batch."""
    batch = (await client.post("/v1/route", json={"prompts": PROMPTS})).json()["decisions"]
    assert len(batch) == len(PROMPTS)
    for prompt, decision in zip(PROMPTS, batch, strict=True):
        single = (await client.post("/v1/route", json={"prompt": prompt})).json()
        assert {**decision, "win_rate": None} == {**single, "win_rate": None}
        assert decision["win_rate"] == pytest.approx(single["win_rate"], abs=1e-6)
    rates = load_router(load_checkpoint("mf")).win_rates([make_question(p, "auto").prompt for p in PROMPTS])
    scored = [(d["win_rate"], rate) for d, rate, p in zip(batch, rates, PROMPTS, strict=True) if p]
    assert all(np.float64(ours) == rate for ours, rate in scored)


@pytest.mark.parametrize("model", ["router-mf-0.9", "router-mf-20pct", "stand-in-weak", "router-random"])
async def test_the_model_field_means_what_it_means_elsewhere(client, model):
    """Thresholds, shares, other routers and models by name hold for all prompts of a batch."""
    batch = (await client.post("/v1/route", json={"model": model, "prompts": ["Hi", "Prove it."]})).json()["decisions"]
    for prompt, decision in zip(["Hi", "Prove it."], batch, strict=True):
        single = (await client.post("/v1/route", json={"model": model, "prompt": prompt})).json()
        assert decision["threshold"] == single["threshold"]
        assert decision["reason"] == single["reason"]
        if "random" not in model:
            assert decision["model"] == single["model"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"prompts": []}, "prompts is an array of 0, wanted an array of 1 to 10,000 strings"),
        ({"prompts": "Hi"}, "prompts is str, wanted an array"),
        ({"prompts": ["Hi", 3]}, "prompts[1] is int, wanted a string"),
        ({"prompts": ["x"] * 10_001}, "prompts is an array of 10,001"),
        ({"prompts": ["Hi"], "prompt": "Hi"}, "prompt is given together with prompts"),
        ({"prompts": ["Hi"], "explain": True}, "explain is given together with prompts"),
        ({"prompts": ["Hi"], "model": "router-mf-2"}, "2"),
    ],
)
async def test_a_wrong_batch_is_refused(client, body, told):
    """The error names the field, its value and what was wanted."""
    answer = await client.post("/v1/route", json=body)
    assert answer.status_code in (400, 404)
    assert told in answer.json()["error"]["message"]


async def test_a_router_that_fails_leaves_each_prompt_its_own_reason(client, monkeypatch):
    """Where the router cannot score the batch, its prompts are decided one by one, as if they had come so."""
    app = client._transport.app
    router = app.engine.routers["mf"].router

    def fail(prompts):
        from pointsman.core.errors import PointsmanError

        raise PointsmanError("no embedding today")

    monkeypatch.setattr(router, "win_rates", fail)
    batch = (await client.post("/v1/route", json={"prompts": ["Hi", "Prove it."]})).json()["decisions"]
    assert [decision["reason"] for decision in batch] == ["win_rate", "win_rate"]  # read() still works
