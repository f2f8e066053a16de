"""The dashboard and the reports of a server with more than two candidates: names instead of strong and weak."""

import json
import re
import shutil
import time

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.choice import Candidate, choose
from pointsman.core.pair import ModelPair
from pointsman.core.roles import Roles
from pointsman.serve.checkpoints.load import load_checkpoint
from pointsman.serve.cli import main
from pointsman.serve.config.load import make_config
from pointsman.serve.dashboard.alarms import alarms_now
from pointsman.serve.dashboard.weighed_points import weighed_report
from pointsman.serve.server.app import create_app

from support.candidates import CANDIDATES, PROMPTS, config_of_three, topic_table, train_three
from support.upstream import LocalServer, Upstream

_OF_TWO = re.compile(r"\b(strong|weak)\b", re.IGNORECASE)
_RATES = st.floats(0, 1, allow_subnormal=False)
_USD = st.floats(1e-6, 1e-2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A router of three, calibrated on a table with bills."""
    folder = tmp_path_factory.mktemp("three")
    found, table = train_three(folder), topic_table(120, seed=1)
    rows = [
        {"prompt": prompt, "model": model, "score": score, "cost_usd": usd}
        for prompt, scores, bills in zip(table.prompts, table.scores.tolist(), table.usd.tolist(), strict=True)
        for model, score, usd in zip(CANDIDATES, scores, bills, strict=True)
    ]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["calibrate", str(folder / "table.jsonl"), "--candidates", ",".join(CANDIDATES), "--checkpoint", found]
    assert main([*words, "--strong-share", "30%", "--json"]) == 0
    return found


@pytest.fixture(scope="module")
def served(checkpoint, tmp_path_factory):
    """The three behind a server that has routed thirty prompts, with a budget and a store."""
    store = {"url": f"sqlite:///{tmp_path_factory.mktemp('store')}/s.db", "prompts": "text", "batch_s": 0.01}
    with LocalServer(Upstream().app()) as up:
        policy = {"budgets": [{"usd": 5.0, "per": "day"}]}
        app = create_app(make_config(config_of_three(checkpoint, f"{up.url}/v1", store=store, policy=policy)))
        with LocalServer(app) as front, httpx.Client(base_url=front.url, timeout=60) as client:
            for i in range(30):
                text = list(PROMPTS.values())[i % 3].format(a=i, b=i + 1, n="lake")
                body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
                assert client.post("/v1/chat/completions", json=body).status_code == 200
            deadline = time.monotonic() + 60.0  # the store has them a little later
            while len(client.get("/api/decisions").json()["decisions"]) < 30:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield client


def test_words_are_of_two_or_of_names():
    """A pair is strong and weak; of more the reference and the cheapest are named, and commands name all."""
    pair = Roles(("a", "b"), ModelPair("a", "b"))
    many = Roles(("a", "b", "c"), ModelPair("a", "b"))
    assert (pair.reference, pair.others, pair.share) == ("the strong model", "the weak model", "strong share")
    assert pair.at_share("30 %") == "30 % to strong" and pair.options == "--strong a --weak b"
    assert (many.reference, many.cheapest, many.share) == ("a", "b", "share of spending")
    assert many.at_share("30 %") == "30 % of the way from b's bill to a's"
    assert many.options == "--candidates a,b,c"


@settings(max_examples=25)
@given(st.lists(st.tuples(_RATES, _RATES, _USD, _USD, _USD), min_size=1, max_size=8), st.floats(1e-4, 1.0))
def test_traffic_is_weighed_again_as_it_was_decided(rows, worth):
    """At every threshold the mean bill and the expected quality are those of the candidates that the rule chooses."""
    decisions, fields = [], []
    for w1, w2, *usd in rows:
        field = [Candidate(name, w, c) for name, w, c in zip(CANDIDATES, (0.5, w1, w2), usd, strict=True)]
        fields.append(field)
        decisions.append([{"model": c.name, "win_rate": c.win_rate, "usd": c.usd} for c in reversed(field)])
    partial = [{"model": "big", "win_rate": 0.5, "usd": 1.0}]  # of a request that the others could not answer
    found = weighed_report([*decisions, partial], CANDIDATES, point_usd=worth)
    assert found is not None and found[1] == len(rows)
    for point in found[0]["curve"][::25]:
        chosen = [choose(f, f[0], threshold=point["threshold"], point_usd=worth).ranking[0].candidate for f in fields]
        assert point["usd"] == pytest.approx(np.mean([c.usd for c in chosen]))
        assert point["quality"] == pytest.approx(np.mean([2.0 - 2.0 * c.win_rate for c in chosen]))
        assert sum(point["asked"]) == pytest.approx(1.0, abs=1e-3) and "quality_error" not in point


def test_traffic_without_bills_is_no_curve():
    """Decisions that lack a bill or a win rate say nothing about dollars."""
    assert weighed_report([[{"model": name, "win_rate": 0.5, "usd": None} for name in CANDIDATES]], CANDIDATES,
        point_usd=None) is None  # fmt: skip


def test_calibration_keeps_quality_against_dollars(checkpoint, served):
    """What calibration measured is a source of the simulator, by the configured names and with who answers."""
    assert load_checkpoint(checkpoint).metrics["labelled"]["candidates"] == list(CANDIDATES)
    sources = [card["id"] for card in served.get("/api/about").json()["sources"]]
    assert sources == ["calibration/three", "traffic/three"]  # benchmarks of a pair's router would mislead
    found = served.get("/api/sources/calibration/three").json()
    report = found["routers"]["three"]
    assert found["candidates"] == list(CANDIDATES) and [one["model"] for one in report["singles"]] == list(CANDIDATES)
    assert report["curve"][0]["asked"] == [1.0, 0.0, 0.0] and report["curve"][0]["quality_error"] > 0.0
    live = served.get("/api/sources/traffic/three").json()
    assert live["expected"] is True and live["n_prompts"] == 30


def test_every_candidate_has_its_price_and_length(served):
    """The prices on the page are those of a typical prompt at each one's own expected length."""
    prices = served.get("/api/about").json()["prices"]
    assert [one["model"] for one in prices] == list(CANDIDATES)
    assert [one["output_tokens"] for one in prices] == [100, 100, 100]
    assert [one["usd"] for one in prices] == pytest.approx([10.5, 2.1, 0.525])


def test_the_reference_is_billed_at_its_own_length(served):
    """What it would have cost is not by the length of another's answer: efforts of one model differ in nothing else."""
    rows = served.get("/api/decisions").json()["decisions"]
    others = [row for row in rows if row["model"] != "big"]
    assert others and len(others) < len(rows)
    for row in rows:
        length = row["output_tokens"] if row["model"] == "big" else 100  # as labelled
        assert row["strong_usd"] == pytest.approx((25.0 * row["input_tokens"] + 100.0 * length) / 1e6)


def test_a_checkpoint_of_many_is_inspected_as_such(checkpoint, capsys):
    """Its candidates are listed, its thresholds are of shares of spending, and no curve fills the terminal."""
    assert main(["inspect", checkpoint]) == 0
    said = capsys.readouterr().out
    assert "candidates   big, middle, small" in said and "30% of spending" in said and not _OF_TWO.search(said)
    assert "quality_error" not in said


def test_a_threshold_that_is_missing_names_the_command(served):
    """The command that stores it, with the table, the candidates and the checkpoint."""
    body = {"model": "router-three-cost2", "prompt": "hello"}
    said = served.post("/v1/route", json=body).json()["error"]["message"]
    assert "`pointsman calibrate TABLE --candidates big,middle,small --max-cost-usd 2 --checkpoint three`" in said


def test_explanations_name_a_share_of_spending(served):
    """Turning points are not win rates: no rank among them is given, and no prompt goes "to strong"."""
    body = {"model": "router-three-0.6", "prompt": PROMPTS["poem"].format(n="lake"), "explain": True}
    found = served.post("/v1/route", json=body).json()["explanation"]
    assert 0.0 < found["spend_share"] < 1.0 and "strong_share" not in found and "win_rate_percentile" not in found


def test_no_sentence_of_the_overview_is_about_two(served):
    """Whatever the first view says of three candidates, it says by their names."""
    seen = served.get("/api/overview").json()
    said = json.dumps([seen[part] for part in ("verdict", "alarms", "saving", "advice", "why", "checklist")])
    said = re.sub(r'"[a-z_]+":', "", said)
    assert not _OF_TWO.search(said), said
    assert "big's" in seen["advice"]["text"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: apt-get install chromium")
def test_no_view_is_about_two(served):
    """On every view the page speaks of three candidates by their names, and complains of nothing."""
    sync_api = pytest.importorskip("playwright.sync_api")
    problems, said = [], {}
    views = {
        "overview": "#advice p", "simulator": "[data-figure=retained]",
        "simulator?source=traffic%2Fthree": "#curve-title:has-text('Expected')", "live": "#decisions td.prompt button",
        "playground": "#ask",
    }  # fmt: skip
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda line: line.type in ("error", "warning") and problems.append(line.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        for view, ready in views.items():
            page.goto(f"{served.base_url}/#{view}")
            page.wait_for_selector(ready)
            if view == "playground":
                page.locator("#ask button").click()
                page.wait_for_selector("#verdict table")
            if view == "live":
                page.locator("#decisions td.prompt button").first.click()
                page.wait_for_selector("#decisions .explained table")
            said[view] = page.locator("main").inner_text().replace("\u00a0", " ")
        browser.close()
    assert problems == []
    assert {view: _OF_TWO.findall(words) for view, words in said.items()} == {view: [] for view in views}
    assert "Percent of spending" in said["simulator"] and "Asked at this point: big" in said["simulator"]
    assert "Expected quality" in said["simulator?source=traffic%2Fthree"]
    assert "Share of spending" in said["live"] and "Candidates weighed" in said["live"]
    assert (
        "loses least" in said["playground"] and "Ask all 3" in said["playground"] and "null" not in said["playground"]
    )


def test_answers_of_other_lengths_than_labelled_raise_an_alarm(checkpoint):
    """From fifty answers on that are twice as long as the labels, or half: bills are expected by these."""
    engine = create_app(make_config(config_of_three(checkpoint, "http://127.0.0.1:9/v1"))).engine
    for length, n, said in ((150, 60, []), (300, 5, []), (900, 490, ["big"])):
        for _ in range(n):
            engine.state.answer_tokens.learn("big", length)
        assert list(engine.bills.other_lengths()) == said
    (alarm,) = alarms_now(engine, bound=None, loss=None, failed=(0, 0))
    assert "labelled 100" in alarm.cause and "train again" in alarm.do


def test_commands_take_models_from_candidates(checkpoint, tmp_path, capsys):
    """`doctor` knows that models are configured, and `judge` asks which candidate is meant."""
    config = tmp_path / "many.json"
    config.write_text(json.dumps(config_of_three(checkpoint, "http://127.0.0.1:9/v1")))
    main(["doctor", "--config", str(config)])
    said = capsys.readouterr().out
    assert "stand-ins" not in said and all(f"{name} " in said for name in CANDIDATES)
    (tmp_path / "prompts.csv").write_text("prompt\nhello\n")
    words = ["judge", str(tmp_path / "prompts.csv"), "--config", str(config), "-o", str(tmp_path / "out.jsonl")]
    assert main(words) == 1
    assert (
        "--model-b is not given, wanted the candidate to compare with big: one of middle, small"
        in capsys.readouterr().err
    )
