"""The Python API: the same decisions and answers as the server's."""

import asyncio
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.embedding import CANARIES
from pointsman.core.errors import (
    CheckpointError,
    ConfigError,
    EmbedderMismatchError,
    PointsmanError,
    UnknownRouterError,
)
from pointsman.core.pair import ModelPair
from pointsman.core.router import Reading, Router
from pointsman.serve import Controller
from pointsman.serve.config.load import make_config
from pointsman.serve.http.errors import RequestError, UpstreamFailure

from support.processes import wait_until
from support.upstream import WORDS, running_upstream

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
PATIENT = {"routers": {"random": {}}, "server": {"routing_timeout_s": 60}}


class FixedRouter(Router):
    """Gives one win rate, after a while or never."""

    kind = "fixed"

    def __init__(self, win_rate=0.5, *, delay_s=0.0, error=None):
        self.win_rate, self.delay_s, self.error = win_rate, delay_s, error

    def win_rates(self, prompts):
        time.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return np.full(len(prompts), self.win_rate)


def use(controller, router):
    """Puts another router in the place of the first."""
    name = next(iter(controller.engine.routers))
    controller.engine.routers[name] = replace(controller.engine.routers[name], router=router)


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as made:
        yield made


@pytest.fixture
def controller(upstream):
    with Controller(["random"], "big-1", "small-1", api_base=upstream.url, api_key="sk-1") as made:
        yield made


@pytest.fixture(scope="module")
def mf_folder(tmp_path_factory):
    """A matrix-factorisation checkpoint on the bundled embedder, its weights drawn at random."""
    from pointsman.backends.embedders import resolve_embedder

    embed, rng = resolve_embedder("static"), np.random.default_rng(0)
    checkpoint = Checkpoint(
        kind="mf",
        models=("a", "b", "c"),
        pair=ModelPair("a", "b"),
        embedder=embed.identity,
        canaries=embed(CANARIES),
        calibration=Calibration("made up", 3, (0.2, 0.4, 0.9)),
        arrays={
            "model_embeddings": rng.standard_normal((3, 4)).astype(np.float32),
            "projection": rng.standard_normal((4, embed.identity.dim)).astype(np.float32),
            "classifier": rng.standard_normal(4).astype(np.float32),
            "projection_bias": np.zeros(4, np.float32),
        },
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "my-mf"
    write_checkpoint(checkpoint, folder)
    return folder


def test_a_completion_has_attributes(controller, upstream):
    """The answer reads like OpenAI's, fields that were left out are None, and unknown ones an error."""
    answer = controller.chat.completions.create(model="router-random-0", messages=HELLO, temperature=0.3)
    assert answer.choices[0].message.content == "".join(WORDS) == answer["choices"][0]["message"]["content"]
    assert answer.choices[0].message.tool_calls is None
    assert answer.usage.total_tokens == 14
    with pytest.raises(AttributeError, match="it has id, created, model"):
        answer.chioces  # noqa: B018
    assert upstream.last.document == {"model": "big-1", "messages": HELLO, "temperature": 0.3}
    assert upstream.last.headers["authorization"] == "Bearer sk-1"


def test_what_was_cut_off_is_asked(controller, upstream):
    """A lone surrogate, as in the server; keys that are numbers are text, as OpenAI's client sends them."""
    cut = [{"role": "user", "content": "Hi \ud83d"}]
    answer = controller.completion(model="big-1", messages=cut, logit_bias={50256: -100})
    assert answer.choices[0].message.content == "".join(WORDS)
    assert upstream.last.document == {"model": "big-1", "messages": cut, "logit_bias": {"50256": -100}}


def test_routellms_keywords_work(controller, upstream):
    """A router and a threshold may be given apart, as in RouteLLM's completion()."""
    controller.completion(router="random", threshold=1.0, messages=HELLO)
    assert upstream.last.document["model"] == "small-1"
    controller.completion(router="random", strong_share=1.0, messages=HELLO)
    assert upstream.last.document["model"] == "big-1"


def test_a_stream_is_an_iterator_of_chunks(controller):
    """Chunks have attributes, and the loop that everyone writes works."""
    stream = controller.completion(model="router-random-0", messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "".join(WORDS)


def test_a_stream_may_be_left_early(controller, upstream):
    """Closing the iterator hangs up on the upstream."""
    upstream.held = True
    try:
        stream = controller.completion(model="router-random-0", messages=HELLO, stream=True)
        next(stream)
        stream.close()
        place = len(upstream.received) - 1
        wait_until(lambda: place in upstream.cancelled)
    finally:
        upstream.held = False


async def test_everything_works_in_a_loop(controller):
    """acompletion and acreate answer many at once, and stream, without blocking the loop."""
    answers = await asyncio.gather(*(controller.acompletion(model="auto", messages=HELLO) for _ in range(20)))
    assert {a.choices[0].message.content for a in answers} == {"".join(WORDS)}
    stream = await controller.chat.completions.acreate(model="auto", messages=HELLO, stream=True)
    assert "".join([c.choices[0].delta.content or "" async for c in stream]) == "".join(WORDS)


def test_it_serves_one_event_loop_after_the_other(controller):
    """asyncio.run may be called again and again with the same controller."""
    for _ in range(3):
        assert asyncio.run(controller.acompletion(model="auto", messages=HELLO)).choices


def test_a_closed_controller_opens_again(controller):
    """Closing gives up connections, not the controller."""
    controller.completion(model="auto", messages=HELLO)
    controller.close()
    assert controller.completion(model="auto", messages=HELLO).choices


def test_an_upstreams_error_is_raised_with_its_status(upstream):
    """The exception carries the status that a client of the server would see, and the upstream's message."""
    models = {name: {"retry": {"attempts": 0}} for name in ("status-429", "html-200")}
    values = {"strong": "status-429", "weak": "html-200", "models": models, "routers": {"random": {}}}
    with Controller(config=values, api_base=upstream.url, api_key="sk-1") as controller:
        with pytest.raises(UpstreamFailure, match=r"no: Bearer \[redacted\]") as caught:
            controller.completion(model="status-429", messages=HELLO)
        assert caught.value.status == 429
        with pytest.raises(UpstreamFailure, match="wanted a JSON object") as caught:
            controller.completion(model="html-200", messages=HELLO)
        assert caught.value.status == 502


def test_a_broken_stream_raises(upstream):
    """A stream that ends with an error event raises, however much came before."""
    config = {
        "strong": "big",
        "weak": "small",
        "models": {n: {"base_url": upstream.url, "timeouts": {"between_chunks_s": 0.2}} for n in ("big", "small")},
        "routers": {"random": {}},
    }
    upstream.held = True
    try:
        with Controller(config=config) as made, pytest.raises(UpstreamFailure, match="stopped in the middle"):
            list(made.completion(model="big", messages=HELLO, stream=True))
    finally:
        upstream.held = False


def test_bad_arguments_are_refused(controller):
    """Wrong models, contradictory settings and values that are no JSON are ValueErrors that say so."""
    for arguments in (
        {"model": "gpt-4", "messages": HELLO},
        {"model": "router-random-2", "messages": HELLO},
        {"model": "auto"},
        {"model": "auto", "messages": []},
        {"model": "auto", "threshold": 0.5, "messages": HELLO},
        {"threshold": 0.5, "strong_share": 0.5, "messages": HELLO},
        {"model": "auto", "messages": HELLO, "x": object()},
        {"router": "nope", "messages": HELLO},
    ):
        with pytest.raises(ValueError):
            controller.completion(**arguments)
    with pytest.raises(UnknownRouterError, match="random"):
        controller.win_rates(["x"], router="nope")


def test_a_checkpoint_directory_is_a_router(mf_folder):
    """Win rates, thresholds by calibration and decisions are the checkpoint's; it is called by its last part."""
    with Controller([str(mf_folder)]) as controller:
        prompts = ["What is the capital of France?", "Prove it."]
        rates = controller.win_rates(prompts)
        assert rates.shape == (2,)
        decision = controller.route(prompts[0])
        assert decision.win_rate == pytest.approx(rates[0], abs=1e-6)
        assert decision.threshold == pytest.approx(0.4)
        assert decision.model == ("stand-in-strong" if rates[0] >= 0.4 else "stand-in-weak")
        assert controller.route(prompts[0], strong_share=0.25).threshold == pytest.approx(0.65)
        assert controller.route(prompts[0], threshold=rates[0]).threshold == rates[0]
        assert controller.route(prompts[0], model=f"router-{mf_folder.name}-100pct").model == "stand-in-strong"


def test_a_config_names_routers_defaults_and_pairs(mf_folder):
    """Threshold, strong share and pair of the configuration apply; another pair has no calibration to go by."""
    folder = str(mf_folder)
    routers = {
        "fixed": {"checkpoint": folder, "threshold": 0.123},
        "share": {"checkpoint": folder, "strong_share": 0.25},
        "pair": {"checkpoint": folder, "pair": {"strong": "c", "weak": "a"}},
    }
    with Controller(config={"routers": routers}) as controller:
        assert controller.route("x").threshold == 0.123
        assert controller.route("x", "share").threshold == pytest.approx(0.65)
        assert controller.route("x", "pair", 0.5).win_rate != controller.route("x", "fixed", 0.5).win_rate
        with pytest.raises(RequestError, match="not calibrated"):
            controller.route("x", "pair")


@pytest.mark.parametrize("candidates", [[], ["a", "b", "c"]])
def test_a_config_that_was_read_already_is_taken_as_it_is(candidates):
    """A `Config` gives the controller that its values give, for a pair and for more."""
    values = {"routers": {"random": {}}, "models": {name: {"base_url": "http://127.0.0.1:9"} for name in "abc"}}
    values |= {"candidates": candidates} if candidates else {"strong": "a", "weak": "b"}
    with Controller(config=make_config(values)) as made, Controller(config=values) as given:
        assert made.engine.config == given.engine.config
        assert made.engine.candidates == given.engine.candidates


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), CheckpointError),
        (lambda folder: (folder / "pointsman.json").write_text("{}"), CheckpointError),
        (
            lambda folder: (folder / "pointsman.json").write_text(
                (folder / "pointsman.json").read_text().replace('"normalized": true', '"normalized": false')
            ),
            EmbedderMismatchError,
        ),
    ],
    ids=["damaged", "foreign", "other embedder"],
)
def test_a_bad_checkpoint_is_refused_at_once(mf_folder, tmp_path, change, error):
    """A checkpoint that is damaged, foreign or made with another embedder never starts to serve."""
    folder = shutil.copytree(mf_folder, tmp_path / "copy")
    change(folder)
    with pytest.raises(error):
        Controller([str(folder)])


def test_an_unknown_router_or_model_is_refused_at_once():
    """Names that mean nothing are configuration errors that list what there is."""
    with pytest.raises(ConfigError, match="mf, random"):
        Controller(["nope"])
    with pytest.raises(ConfigError, match=r"(?s)'meta-llama' is not a known provider.*'nowhere'"):
        Controller(["random"], "meta-llama/Llama-3-8B", "nowhere/x")
    with pytest.raises(ConfigError, match="which is not a directory"):
        Controller(config={"mf": {"checkpoint_path": "routellm/mf_gpt4_augmented"}})


@pytest.mark.parametrize(
    ("router", "reason"),
    [
        (
            FixedRouter(error=PointsmanError("the embedding service is down")),
            "router failed: PointsmanError",
        ),
        (FixedRouter(error=RuntimeError("secret details")), "router failed: RuntimeError"),
        (FixedRouter(float("nan")), "router failed: BadWinRateError"),
        (FixedRouter(1.5), "router failed: BadWinRateError"),
        (FixedRouter(0.1, delay_s=1.0), "router failed: no win rate within 0.2 s"),
    ],
    ids=["service", "bug", "nan", "range", "deadline"],
)
def test_a_router_that_fails_means_strong(router, reason):
    """A failing or late router costs quality nothing: strong answers, and the reason says why."""
    patience_s = 0.2 if router.delay_s else 60
    with Controller(config={"routers": {"random": {}}, "server": {"routing_timeout_s": patience_s}}) as controller:
        use(controller, router)
        decision = controller.route("Hello", threshold=0.9)
        assert (decision.model, decision.win_rate, decision.reason) == ("stand-in-strong", None, reason)
        answer = controller.completion(model="router-random-0.9", messages=HELLO)
        assert reason in answer.choices[0].message.content


def test_the_reason_of_a_fallback_to_strong_is_the_decisions():
    """A router that could not read its own model's answer says so, and its reason reaches the decision."""

    class Unreadable(FixedRouter):
        def read(self, prompt):
            return Reading(1.0, "invalid output: no score")

    with Controller(config=PATIENT) as controller:
        use(controller, Unreadable())
        decision = controller.route("Hello", threshold=0.9)
        assert (decision.model, decision.reason) == ("stand-in-strong", "invalid output: no score")


def test_a_prompt_without_text_means_strong():
    """An image alone tells a router nothing."""
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
    with Controller(["random"]) as controller:
        answer = controller.completion(model="router-random-1", messages=image)
        assert "STRONG model, because the last user turn has no text" in answer.choices[0].message.content


def test_a_slow_router_does_not_block_the_others():
    """Blocking routers run in threads: four decisions that wait for each other are all made."""
    together = threading.Barrier(4)

    class Waiting(FixedRouter):
        def win_rates(self, prompts):
            together.wait(timeout=60)
            return super().win_rates(prompts)

    with Controller(config=PATIENT) as controller:
        use(controller, Waiting(0.7))

        async def many():
            return await asyncio.gather(*(controller.acompletion(model="auto", messages=HELLO) for _ in range(4)))

        answers = asyncio.run(many())
    assert not [answer for answer in answers if "failed" in answer.choices[0].message.content]


def test_the_threshold_is_inclusive():
    """Strong iff win_rate >= threshold."""
    with Controller(config=PATIENT) as controller:
        use(controller, FixedRouter(0.5))
        assert controller.route("x", threshold=0.5).model == "stand-in-strong"
        assert controller.route("x", threshold=np.nextafter(0.5, 1.0)).model == "stand-in-weak"


def test_budgets_and_the_store_hold_for_its_requests(upstream, tmp_path, noon):
    """Plain, streamed, abandoned and refused requests are priced, kept, and counted against a ceiling."""
    price = {"input_usd_per_million": 1e6, "output_usd_per_million": 1e6}
    values = {
        "routers": {"random": {}},
        "models": {name: {"base_url": upstream.url, "price": price} for name in ("big", "small")},
        "policy": {"budgets": [{"usd": 1e6, "per": "month", "hard": True}], "timezone": noon},
        "store": {"url": f"sqlite:///{tmp_path / 'store.db'}"},
    }
    with Controller(None, "big", "small", values) as controller:
        for threshold in (0.0, 1.0):
            answer = controller.completion(threshold=threshold, messages=HELLO)
        list(controller.completion(messages=HELLO, stream=True))
        left = controller.completion(messages=HELLO, stream=True)
        next(left)
        left.close()
        with pytest.raises(RequestError):
            controller.completion(model="nobody", messages=HELLO)
        whole_usd = answer.usage.total_tokens
        (budget,) = controller.engine.policies.describe()["budgets"]
        assert budget["spent_usd"] > 3 * whole_usd - 1e-6
        assert budget["under_way_usd"] == 0.0
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        rows = database.execute("select outcome, cost_usd from decisions order by rowid").fetchall()
    assert [outcome for outcome, _ in rows] == ["answered", "answered", "answered", "gone", "refused"]
    assert [usd for _, usd in rows[:2]] == pytest.approx([whole_usd] * 2)
    assert rows[2][1] > 0.0
