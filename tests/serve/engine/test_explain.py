"""Explanations: what a decision rests on, costs and saves, over HTTP, on the command line and for stored decisions."""

import json
from dataclasses import replace

import httpx
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.calibration import Calibration
from pointsman.core.choice import Candidate, Weighed
from pointsman.core.decision import Decision
from pointsman.core.knn import Neighbours, nearest
from pointsman.core.novelty import Centroids
from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.core.probability import PlattMap
from pointsman.core.reference import Reference
from pointsman.core.routers.knn import KNNRouter
from pointsman.core.routers.mf import MFRouter
from pointsman.serve.cli import main
from pointsman.serve.config.drift import DriftConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.drift.monitor import DriftMonitor
from pointsman.serve.engine.explain import Explainer, explanation_lines
from pointsman.serve.money.price_list import ListedPrice
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.surfaces import CHAT
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record
from pointsman.serve.server.app import create_app

from support.upstream import LocalServer

PAIR = ModelPair("big", "small")
PRICE_LIST = {
    "big": ListedPrice(Price(10.0, 30.0), "configuration"),
    "small": ListedPrice(Price(1.0, 3.0), "configuration"),
}
DECISION = Decision("small", 0.25, 0.5, "mine", "win_rate", ("big", "small"), "fixed")
EMBEDDING = np.array([1.0, 0.2, 0.0], dtype=np.float32)


def served(**parts):
    neighbours = Neighbours(np.eye(3, dtype=np.float32), np.array([0.9, 0.1, 0.5]), 2, 0.1)
    router = KNNRouter(None, neighbours, PlattMap(1.0, 0.0))
    values = {
        "calibration": Calibration("a file", 11, tuple(np.linspace(0.0, 1.0, 11))),
        "reference": Reference(
            "a file", np.linspace(0, 1, 5), np.linspace(0, 1, 5), Centroids(np.eye(3)), ("one", "two", "three")
        ),
    }
    return ServedRouter("mine", router, default_threshold=0.5, **{**values, **parts})


def explain(decision=DECISION, *, router=None, price_list=PRICE_LIST, drift=None, **about):
    about = {"embedding": EMBEDDING, "input_tokens": 1000, "output_tokens": 100, **about}
    return Explainer({"mine": router or served()}, PAIR, price_list, drift=drift).explain(decision, **about)


def test_costs_and_saving_are_those_of_the_prices():
    """Each model's cost is its price times the tokens, and the saving that of strong less that of who answers."""
    cost = explain()["cost"]
    assert cost["strong"]["usd"] == pytest.approx((1000 * 10 + 100 * 30) / 1e6)
    assert cost["weak"]["usd"] == pytest.approx((1000 * 1 + 100 * 3) / 1e6)
    assert cost["saving_usd"] == pytest.approx(cost["strong"]["usd"] - cost["weak"]["usd"])
    assert not cost["estimated"]
    to_strong = Decision("big", 0.75, 0.5, "mine", "win_rate", ("big", "small"))
    assert explain(to_strong)["cost"]["saving_usd"] == 0.0


def test_without_prices_the_saving_is_not_known():
    """No price gives no dollars, never zero."""
    cost = explain(price_list={"small": PRICE_LIST["small"]})["cost"]
    assert cost["strong"] == {"model": "big", "usd": None, "price": None}
    assert cost["saving_usd"] is None


def test_places_among_the_calibration():
    """Percentile of the win rate, share at the threshold, and novelty are read off the calibration's quantiles."""
    found = explain()
    assert found["win_rate_percentile"] == pytest.approx(0.25)
    assert found["strong_share"] == pytest.approx(0.5)
    assert found["novelty"]["percentile"] == 0.2
    assert [near["example"] for near in found["novelty"]["nearest"]] == ["one", "two", "three"]
    assert found["neighbours"][0]["strong_share"] == 0.9


def test_a_learned_score_has_no_place_among_the_calibration():
    """The calibration's quantiles are the router's win rates: a score that the autopilot learned is not one of them."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    context = RequestContext(CHAT.read(body), win_rate=0.25, embedding=EMBEDDING)
    explainer = Explainer({"mine": served()}, PAIR, PRICE_LIST)
    placed = {"win_rate_percentile", "calibration", "strong_share"}
    assert placed <= set(explainer.explain_context(DECISION, context))
    context.score = 0.3
    found = explainer.explain_context(DECISION, context)
    assert not placed & set(found)
    assert found["novelty"] is not None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_win_rate_has_no_lower_percentile(quantiles, one, other):
    """Percentiles lie in [0, 1] and rise with the win rate, ties and all."""
    router = served(calibration=Calibration("x", 9, tuple(sorted(quantiles))))
    low, high = (
        explain(Decision("small", rate, 0.5, "mine", "win_rate", ("big", "small")), router=router)
        for rate in sorted((one, other))
    )
    assert 0.0 <= low["win_rate_percentile"] <= high["win_rate_percentile"] <= 1.0


def test_what_is_not_known_is_left_out():
    """Pass-through, a failed router, and a router without calibration or reference are explained as far as may be."""
    assert set(explain(Decision("big", None, None, None, "pass-through", ("big",)))) == {"summary"}
    failed = explain(Decision("big", None, 0.5, "mine", "router failed: x", ("big", "small")), embedding=None)
    assert failed["novelty"] is None and "router failed: x" in failed["summary"]
    bare = explain(router=served(calibration=None, reference=None), embedding=None)
    assert "win_rate_percentile" not in bare and bare["novelty"] is None
    for found in (failed, bare):
        assert explanation_lines(found)[0] == found["summary"]


async def test_a_drift_alarm_is_part_of_the_explanation():
    """While an alarm stands the explanation says that guarantees are void."""
    monitor = DriftMonitor(DriftConfig())
    monitor.reconfigure({"mine": served(reference=Reference("a file", np.linspace(0, 1, 500)))})
    assert "Drift" not in "".join(explanation_lines(explain(drift=monitor)))
    context = RequestContext(ChatRequest(b"", {}, "auto", False, "Hi"), win_rate=0.999, decision=DECISION)
    await monitor.start()
    for _ in range(600):
        monitor(Record("id", "/v1/chat/completions", context=context))
    await monitor.close()
    assert "guarantees are void" in explanation_lines(explain(drift=monitor))[-1]


def test_nearest_are_those_of_highest_cosine():
    """The n rows of highest cosine, nearest first, however long the query is."""
    rng = np.random.default_rng(0)
    neighbours = Neighbours(rng.standard_normal((40, 5)).astype(np.float32), np.zeros(40), 3, 0.1)
    query = rng.standard_normal(5)
    rows, cosines = nearest(neighbours, 7 * query, 4)
    slow = [float(e @ query) / np.linalg.norm(query) for e in neighbours.embeddings]
    assert rows.tolist() == sorted(range(40), key=lambda k: -slow[k])[:4]
    assert cosines == pytest.approx(np.array(slow)[rows], abs=1e-6)


def test_the_server_explains_when_asked():
    """POST /v1/route with explain gives the decision and what it rests on; explain must be true or false."""
    values = {
        "strong": "big",
        "weak": "small",
        "models": {
            name: {
                "base_url": "http://127.0.0.1:9/v1",
                "price": {"input_usd_per_million": price, "output_usd_per_million": price},
            }
            for name, price in (("big", 10.0), ("small", 1.0))
        },
    }
    with LocalServer(create_app(make_config(values))) as server:
        status, found = post(server.url + "/v1/route", {"prompt": "What is 2 + 2?", "explain": True})
        assert status == 200
        assert found["explanation"]["novelty"]["nearest"][0]["example"]
        assert found["explanation"]["cost"]["strong"]["usd"] > found["explanation"]["cost"]["weak"]["usd"]
        assert "explanation" not in post(server.url + "/v1/route", {"prompt": "What is 2 + 2?"})[1]
        status, found = post(server.url + "/v1/route", {"prompt": "Hi", "explain": "yes"})
        assert (status, found["error"]["param"]) == (400, "explain")


def test_the_command_line_explains(capsys):
    """`pointsman route --explain` prints lines for people, with --json the same as the server."""
    assert main(["route", "What is 2 + 2?", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "threshold" in lines[0] and any(line.startswith("Novelty") for line in lines)
    assert main(["route", "What is 2 + 2?", "--explain", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0.0 <= found["explanation"]["win_rate_percentile"] <= 1.0


RULES = """
strong: openai/gpt-4o
weak: openai/gpt-4o-mini
models: {openai/gpt-4o-mini: {capabilities: []}}
routers: {mf: {threshold: 0.0}}
policy: {threshold_bounds: {floor: 1.0}}
"""


def test_the_command_line_decides_as_the_server_does(tmp_path, monkeypatch, capsys):
    """Policies and bounds hold for `pointsman route --config` too, the prompt is scored once, and no file is made."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    path = tmp_path / "pointsman.yaml"
    path.write_text(RULES + f"store: {{url: 'sqlite:///{tmp_path / 'none.db'}'}}\n")
    scored = []
    read = MFRouter.read
    monkeypatch.setattr(MFRouter, "read", lambda router, prompt: scored.append(prompt) or read(router, prompt))
    assert main(["route", "Prove it.", "--config", str(path), "--explain", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with LocalServer(create_app(make_config({**yaml.safe_load(RULES)}))) as server:
        _, told = post(server.url + "/v1/route", {"prompt": "Prove it.", "explain": True})
    assert said == told
    assert (said["model"], said["policy"], said["threshold"]) == ("openai/gpt-4o-mini", "floor", 1.0)
    assert scored == ["Prove it."]
    assert not (tmp_path / "none.db").exists()


def post(url, value):
    answer = httpx.post(url, json=value, timeout=60)
    return answer.status_code, answer.json()


def test_many_candidates_are_each_expected_at_their_own_bill():
    """Of more than two candidates savings are told by the bills that were weighed, against the reference."""
    usd = {"middle": 0.004, "big": 0.03, "small": 0.0001}
    weighed = tuple(Weighed(Candidate(name, 0.5, bill), 0.0, 0.5) for name, bill in usd.items())
    decision = replace(DECISION, model="middle", candidates=tuple(usd), weighed=weighed)
    found = explain(decision, input_tokens=None, output_tokens=None)
    assert found["cost"]["saving_usd"] == pytest.approx(0.026)
    assert found["cost"]["strong"]["usd"] == 0.03 and found["cost"]["weak"]["usd"] == 0.0001
    told = "\n".join(explanation_lines(found))
    assert "Saved against always asking the reference: about $0.026." in told and "tokens in and" not in told
