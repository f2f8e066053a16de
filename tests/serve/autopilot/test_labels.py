"""Losses that people or a scorer tell, instead of a judge or beside it."""

from types import SimpleNamespace

import httpx
import pytest

from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot import draw
from pointsman.serve.autopilot.counting import waits_for_label
from pointsman.serve.autopilot.drawn import make_row
from pointsman.serve.autopilot.labels import loss_of, question_of
from pointsman.serve.config import StoreConfig
from pointsman.serve.config.load import make_config
from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.store import Store

from support.autopilot_server import ask, serving, settings, settled
from support.planted_models import RIGHT, PlantedModels
from support.upstream import LocalServer


@pytest.fixture
def planted(monkeypatch):
    """The models, and where they are asked; thirty requests make a chain."""
    monkeypatch.setattr(draw, "_WARM_UP", 30)
    models = PlantedModels(hard=1.0)
    with LocalServer(models.app()) as server:
        models.url = f"{server.url}/v1"
        yield models


async def test_texts_that_were_cut_off_are_shown(tmp_path):
    """The question and both answers of a comparison may hold what no database takes."""
    generation = SimpleNamespace(number=0, plan=SimpleNamespace(reach=1, inside=1.0, outside=0.1))
    drawn = SimpleNamespace(
        running=[SimpleNamespace(generation=generation)],
        sample=SimpleNamespace(request_id="r", question="q \ud83d"),
        prompt=SimpleNamespace(embedding=None, win_rate=0.5, n_characters=3, win_rates=()),
        place=SimpleNamespace(scores=[0.5], untils=(), probability=1.0, candidate=None),
        n_undrawn=0, wants_label=True, label_share=1.0,
    )  # fmt: skip
    compared = SimpleNamespace(
        row=SimpleNamespace(id="1", at=1.0, cost_usd=0.0, model_a="small"), share=0.5, agreed=True,
        answer="weak \ud83d\x00", other=SimpleNamespace(answer="\ude00 strong"),
    )  # fmt: skip
    store = Store(StoreConfig(url=f"sqlite:///{tmp_path}/p.db"))
    await store.start()
    try:
        await store.add([make_row(drawn, compared, ModelPair("big", "small"))])
        (row,) = await store.waiting_labels()
    finally:
        await store.close()
    assert row.shown == {"request_id": "r", "question": "q ?", "strong": "? strong", "weak": "weak ?\ufffd"}


def _row(i: int, **more) -> AutopilotRow:
    return AutopilotRow(
        id=f"{i:04}", at=float(i), generation=0, score=0.5, loss=0.0, probability=1.0, n_undrawn=0, plan=(1, 1.0, 0.1),
        agreed=True, cost_usd=0.0, **more,
    )  # fmt: skip


async def test_people_take_the_judges_place(planted, tmp_path):
    """Nothing counts before it is labelled; what they say is the loss, asked blindly or given as feedback."""
    values = settings(
        planted.url, f"sqlite:///{tmp_path}/p.db", autopilot={"judge": "none", "label_share": 1.0, "train": False}
    )
    async with serving(values) as (client, app):
        store = app.engine.state.store
        await ask(client, 0, 31)
        await settled(app)
        await ask(client, 5, 20)
        facts = await settled(app, counted=False)
        asked = (await client.get("/v1/autopilot/labels")).json()
        assert facts["source"] == "people"
        assert facts["comparisons"]["n"] == 0
        assert asked["waiting"] == len(asked["comparisons"]) > 1
        assert planted.calls["judge"] == 0
        losses = []
        for i, each in enumerate(asked["comparisons"]):
            right = [RIGHT in each[side] for side in ("a", "b")]
            losses.append(1.0 - all(right))
            better = "tie" if right[0] == right[1] else "a" if right[0] else "b"
            if i == 0:
                preference = "tie" if better == "tie" else "strong"
                said = {"request_id": each["request_id"], "preference": preference}
                assert (await client.post("/v1/feedback", json=said)).status_code == 200
            else:
                said = {"id": each["id"], "better": better}
                assert (await client.post("/v1/autopilot/labels", json=said)).status_code == 200
        facts = await settled(app)
        rows = await store.autopilot()
        assert [row.label for row in rows] == losses
        assert facts["comparisons"]["n"] == facts["labels"]["n"] == len(rows)
        assert {row.shown for row in rows} == {None}
        assert await store.comparisons() == []
        late = await client.post("/v1/autopilot/labels", json={"id": rows[0].id, "better": "a"})
        assert (late.status_code, "waits for a label" in late.text) == (404, True)
        wrong = await client.post("/v1/autopilot/labels", json={"id": rows[0].id, "better": "mine"})
        assert (wrong.status_code, "wanted one of a, b, tie" in wrong.text) == (400, True)


async def test_a_scorer_takes_the_judges_place(planted, tmp_path):
    """The loss is the strong answer's score less the weak one's; a scorer that fails counts for nothing."""
    scorer = {"entry_point": "support.planted_models:score_answer", "usd": 0.5}
    values = settings(planted.url, f"sqlite:///{tmp_path}/s.db", autopilot={"judge": "none", "scorer": scorer})
    async with serving(values) as (client, app):
        await ask(client, 0, 31)
        await settled(app)
        await ask(client, 5, 20)
        facts = await settled(app)
        rows = await app.engine.state.store.autopilot()
        assert (facts["source"], planted.calls["judge"]) == ("scorer", 0)
        assert {row.loss for row in rows} <= {0.0, 1.0}
        assert len(rows) == facts["comparisons"]["n"] > 0
        assert {row.judge for row in await app.engine.state.store.comparisons()} == {"scorer"}
        answers = {"big": (100 * 10 + 50 * 30) / 1e6, "small": (100 * 1 + 50 * 2) / 1e6}
        assert min(row.cost_usd for row in rows) >= 1.0 + min(answers.values()) - 1e-9  # two scores and an answer
        assert facts["comparisons"]["usd"] == pytest.approx(sum(row.cost_usd for row in rows), abs=1e-5)
        assert app.engine.state.ledger.spent_usd("day") >= 1.0 * len(rows)


async def test_comparisons_are_counted_in_their_order(store_url):
    """One that waits for its label is waited for: those behind it are not counted before."""
    async with Store(StoreConfig(url=store_url)) as store:
        shown = {"request_id": "r", "question": "q", "strong": "s", "weak": "w"}
        await store.add([_row(1), _row(2, wants_label=1, label_share=0.5, shown=shown), _row(3)])

        def count(value, rows):
            return [*(value or []), *((row.id, row.label) for row in rows)]

        def waits(value, row):
            return bool(row.wants_label) and row.label is None

        assert (await store.fold_autopilot("n", count, waits=waits))[1] == 1
        assert (await store.fold_autopilot("n", count, waits=waits))[1] == 0
        (waiting,) = await store.waiting_labels()
        assert await store.label(waiting.id, -1.0)
        assert not await store.label(waiting.id, 1.0)
        assert not await store.label("0003", 1.0)
        value, n = await store.fold_autopilot("n", count, waits=waits)
        assert (n, [tuple(each) for each in value]) == (2, [("0001", None), ("0002", -1.0), ("0003", None)])


def test_what_is_void_is_not_waited_for():
    """A label is waited for while anything that the comparison was drawn for can still count it."""
    row = _row(1, wants_label=1, label_share=0.5, others=((1, 0.5, 1, 1.0, 0.1),))
    for closed, waits in (((None, None), True), (("drift", None), True), (("drift", "drift"), False)):
        kept = {"generations": [{"number": i, "closed": why} for i, why in enumerate(closed)]}
        assert waits_for_label(kept, row) is waits
    kept = {"generations": [{"number": 0, "closed": None}]}
    assert not waits_for_label(kept, _row(1))
    assert not waits_for_label(kept, _row(1, wants_label=1, label=0.0))
    assert not waits_for_label(None, row)


def test_who_answers_is_not_told():
    """Each side is the strong model's about half of the time, and the label means what was shown."""
    first = 0
    for i in range(200):
        asked = question_of(_row(i, shown={"request_id": "r", "question": "q", "strong": "s", "weak": "w"}))
        first += asked["a"] == "s"
        assert loss_of(asked["id"], "a" if asked["a"] == "s" else "b") == 1.0
        assert loss_of(asked["id"], "b" if asked["a"] == "s" else "a") == -1.0
        assert loss_of(asked["id"], "tie") == 0.0
    assert 70 < first < 130


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judge": "none"}, "nothing says which answer is better; wanted a scorer, label_share: 1"),
        ({"judge": "none", "label_share": 0.5}, "label_share 0.5: nothing says which answer is better"),
        ({"scorer": {"url": "http://127.0.0.1:1/"}}, "judge is 'judge' and a scorer is given, wanted judge: none"),
    ],
)
def test_a_source_of_losses_is_wanted(change, message, tmp_path):
    """No judge, no scorer and no people, or two of them, is an error with the way out."""
    with pytest.raises(ConfigError) as found:
        make_config(settings("http://127.0.0.1:1/v1", f"sqlite:///{tmp_path}/x.db", autopilot=change))
    assert message in str(found.value)


async def test_without_a_store_labels_say_so():
    """The path of a server without a store is 404, and names what to add."""
    from pointsman.serve import create_app

    transport = httpx.ASGITransport(create_app(make_config({})), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/v1/autopilot/labels")
    assert (answer.status_code, "labels need a store" in answer.text) == (404, True)
