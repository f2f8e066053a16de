"""The autopilot's shared state: generations beside each other, days, fingerprints, what is void."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.core.learned_score import LearnedScore
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.counts import Counts
from pointsman.serve.autopilot.days import add_to_day
from pointsman.serve.autopilot.fingerprints import RUN, Fingerprints
from pointsman.serve.autopilot.generation import describe_generation
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.status import describe, phase_of
from pointsman.serve.autopilot.training import due
from pointsman.serve.autopilot.turn import Turn, act_on
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.store.rows import AutopilotRow

CONFIG = AutopilotConfig(max_loss=0.1, judge="judge", compare=1.0)
SERVING = Serving("mf", "weights", None, ModelPair("big", "small"), "terms")
LEARNED = LearnedScore(np.zeros(0, dtype=np.float32), 0.0, 0.1, 0.0)


def begun(config: AutopilotConfig = CONFIG) -> AutopilotState:
    """A state whose first generation has a chain."""
    state = AutopilotState("")
    state.serve("weights", None, "terms", 1.0)
    state.begin_chain(0, list(np.linspace(0.0, 0.99, 100)), config, 1.0)
    return state


def rows(state: AutopilotState, n: int, *, loss=lambda score: 0.0, first: int = 0, **more) -> list[AutopilotRow]:
    """Comparisons as they are drawn for the generations that run now; the score of the last one is the other's less."""
    plans = [(g.number, (g.plan.reach, g.plan.inside, g.plan.outside)) for g in state.running if g.certificate]
    found = []
    for i in range(first, first + n):
        score = (i * 0.618) % 1.0
        others = tuple((number, 1.0 - score, *plan) for number, plan in plans[1:])
        found.append(
            AutopilotRow(
                id=f"{i:06}", at=10.0 + i, generation=plans[0][0], score=score, loss=loss(score), probability=1.0,
                n_undrawn=0, plan=plans[0][1], agreed=True, cost_usd=0.01, others=others, **more,
            )
        )  # fmt: skip
    return found


def learn(state: AutopilotState, now: float = 5.0) -> None:
    """Has a learned generation run beside what serves, with a chain."""
    state.trained({"learned": LEARNED.to_dict(), "pays": True, "n": 300}, now)
    state.begin_chain(state.generations[-1].number, list(np.linspace(0.0, 0.99, 100)), CONFIG, now)


def test_a_learned_generation_is_certified_beside_and_takes_over():
    """It serves nothing until it has certified more than what serves, on comparisons drawn after it was trained."""
    state = begun()
    state.count(rows(state, 60, loss=float), CONFIG, 2.0)
    learn(state)
    assert [g.number for g in state.running] == [0, 1]
    assert state.running[1].certificate.n_compared == 0
    late = replace(rows(begun(), 1, first=60)[0], generation=0)  # drawn before it was trained, counted after
    state.count([late], CONFIG, 6.0)
    assert state.running[1].certificate.n_compared == 0
    before = state.serving
    for start in range(100, 500, 20):  # loss where the old score is high, and the new one low
        state.count(rows(state, 20, loss=lambda s: float(s < 0.5), first=start), CONFIG, 7.0)
        if state.serving != before:
            break
    assert (before, state.serving) == (0, 1)
    assert [g.number for g in state.running] == [1, 0]
    assert state.current.share > 0.0
    assert [e["what"] for e in state.events].count("took over") == 1
    assert state.current.certificate.error == pytest.approx(0.05 * 0.75 * 0.25)


def test_a_rollback_voids_what_was_learned_and_serves_what_was_before():
    """The one before serves with its own certificate; the rolled back one never comes back; then there is nothing."""
    state = begun()
    learn(state)
    for start in range(100, 500, 20):
        state.count(rows(state, 20, loss=lambda s: float(s < 0.5), first=start), CONFIG, 7.0)
    assert state.serving == 1
    act_on(state, "rollback", 8.0)
    assert state.serving == 0
    assert state.generations[1].closed == "rolled back by an administrator"
    assert [g.number for g in state.running] == [0]
    state.count(rows(state, 40, first=600), CONFIG, 9.0)
    assert state.serving == 0
    with pytest.raises(ValueError, match="nothing to roll back"):
        act_on(state, "rollback", 10.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["old", "new"]), max_size=30), st.booleans())
def test_processes_that_reload_one_after_the_other_void_once(turns, routers):
    """However the turns of a process that has reloaded and of one that has not follow each other, one voids, once.

    The other changes nothing until nobody has told the newer configuration for a minute; then it starts over.
    """
    old = SERVING
    new = replace(SERVING, identity="others") if routers else replace(SERVING, terms="others")
    kept, now = None, 100.0
    for who in ("old", "new", *turns, "old"):
        serving, configured_at = (old, 50.0) if who == "old" else (new, 99.0)
        kept = Turn(CONFIG, serving, who, Counts(), None, now, configured_at=configured_at)(kept, [])
        now += 1.0
    state = AutopilotState.from_dict(json.loads(json.dumps(kept)))
    assert (state.is_served(new.identity, new.terms), state.is_served(old.identity, old.terms)) == (True, False)
    assert [g.number for g in state.generations] == [0, 1]
    kept = Turn(CONFIG, old, "old", Counts(), None, now + 60.0, configured_at=50.0)(kept, [])
    assert AutopilotState.from_dict(kept).is_served(old.identity, old.terms)


def test_a_state_is_the_same_after_a_restart():
    """What is kept as JSON gives the same state, learned scores and days included; an older version's is read."""
    state = begun()
    learn(state)
    state.count(rows(state, 30), CONFIG, 6.0)
    state.record_day(Counts(n_requests=30), rows(state, 30), 6.0)
    kept = json.loads(json.dumps(state.to_dict()))
    assert AutopilotState.from_dict(kept).to_dict() == kept
    old = {
        name: kept[name] for name in ("terms", "paused", "n_compared", "n_agreed", "compared_usd", "events", "alarm")
    }
    names = ("number", "router", "checkpoint", "began_at", "certificate", "plan", "closed", "planned_at")
    old |= {"counts": kept["counts"], "generations": [{n: kept["generations"][0][n] for n in names}]}
    assert AutopilotState.from_dict(old).current.number == 0


def test_training_is_due_at_its_numbers_once():
    """One process trains at each number of comparisons; the next does where that one never came back."""
    config = CONFIG.model_copy(update={"train_at": (50, 80)})
    state = begun(config)
    kept = state.to_dict()
    drawn = rows(state, 55)
    turn = Turn(config, SERVING, "me", Counts(), None, 100.0)
    state = AutopilotState.from_dict(turn(kept, drawn))
    assert state.training == {"by": "me", "until": 700.0, "comparisons": 50}
    other = Turn(config, SERVING, "other", Counts(), None, 101.0)
    assert AutopilotState.from_dict(other(state.to_dict(), [])).training["by"] == "me"
    state.count(rows(state, 30, first=55), config, 102.0)
    assert due(state, config, 102.0) is None
    assert due(state, config, 701.0) == 80
    state.trained({"error": "no memory"}, 103.0)
    assert state.training is None
    assert state.events[-1]["why"] == "no memory"
    assert due(state, config, 104.0) == 80
    assert due(state, config.model_copy(update={"train": False}), 104.0) is None


def test_what_is_void_says_why():
    """Learning before anything was void; void with the reason after a reset; certified once a step is open."""
    state = begun()
    assert phase_of(state) == ("learning", None)
    state.close("drift", 3.0)
    state.serve("weights", None, "terms", 3.0)
    assert phase_of(state) == ("void", "drift")
    state.begin_chain(1, [0.1, 0.9], CONFIG, 3.0)
    state.count(rows(state, 400), CONFIG, 4.0)
    assert phase_of(state) == ("certified", None)
    facts = describe(state, CONFIG, SERVING, away=None, waiting=0)
    assert [g["role"] for g in facts["generations"]] == ["void", "serving"]
    assert json.loads(json.dumps(facts)) == facts
    assert describe_generation(state.current, 1.0)["certified_share"] == facts["certified_share"] > 0.0


def test_another_model_under_the_same_name_voids_its_evidence():
    """Twenty answers in a row with an unknown fingerprint void all; alternating ones, and known ones, do not."""
    state, seen = begun(), Fingerprints()
    seen.see("small", "a")
    first, changed = seen.take()
    assert (first, changed) == ({"small": "a"}, {})
    kept = Turn(CONFIG, SERVING, "me", Counts(), None, 2.0, first=first)(state.to_dict(), [])
    seen.known = kept["fingerprints"]
    for _ in range(3 * RUN):
        seen.see("small", "a")
        seen.see("small", "b")
        seen.see("small", None)
    assert seen.take() == ({}, {})
    for _ in range(RUN):
        seen.see("small", "b")
    _, changed = seen.take()
    assert changed == {"small": ["b"]}
    kept = Turn(CONFIG, SERVING, "me", Counts(), None, 3.0, changed=changed)(kept, [])
    state = AutopilotState.from_dict(kept)
    assert state.generations[0].closed == "small has changed: system_fingerprint b, it was a"
    assert (state.serving, state.fingerprints) == (1, {"small": ["b"]})
    again = AutopilotState.from_dict(Turn(CONFIG, SERVING, "you", Counts(), None, 4.0, changed=changed)(kept, []))
    assert again.serving == 1


def test_one_drift_that_several_processes_notice_is_heeded_once():
    """An alarm while the new generation has no chain yet voids nothing, and spends nothing of the error."""
    kept = begun().to_dict()
    for writer, alarm in (("me", "win rate at 1"), ("you", "win rate at 2"), ("me", "win rate at 1")):
        kept = Turn(CONFIG, SERVING, writer, Counts(), alarm, 3.0)(kept, [])
    assert [g["closed"] for g in kept["generations"]] == ["drift", None]
    scores = {1: list(np.linspace(0.0, 0.99, 100))}
    kept = Turn(CONFIG, SERVING, "me", Counts(), None, 4.0, scores=scores)(kept, [])
    kept = Turn(CONFIG, SERVING, "me", Counts(), "win rate at 5", 5.0)(kept, [])
    assert [g["closed"] for g in kept["generations"]] == ["drift", "drift", None]


def test_labels_correct_the_judge():
    """A judge that sees no loss, beside labels that do: the certificate has the labels' mean; the bias is shown."""
    config = CONFIG.model_copy(update={"label_share": 0.5})
    state = begun(config)
    judged = rows(state, 200, label_share=0.5)
    labelled = [replace(row, wants_label=1, label=1.0) if i % 2 else row for i, row in enumerate(judged)]
    state.count(labelled, config, 2.0)
    certificate = state.current.certificate
    assert certificate.estimate(len(certificate.chain) - 1).value == pytest.approx(1.0, abs=0.02)
    assert state.current.share <= 0.1
    facts = describe(state, config, SERVING, away=None, waiting=0)["labels"]
    assert (facts["n"], facts["judge_bias"], facts["judge_disagrees_with_people"]) == (100, -1.0, 1.0)


def test_days_add_up():
    """Counts and dollars of a day add up, what is certified is the latest, and ninety days are kept."""
    days = add_to_day([], 0.0, requests=3, saved_usd=0.5, certified_share=0.1)
    days = add_to_day(days, 3600.0, requests=4, saved_usd=0.25, certified_share=0.2)
    assert len(days) == 1
    assert days[0] | {"requests": 7, "saved_usd": 0.75, "certified_share": 0.2, "day": "1970-01-01"} == days[0]
    for i in range(1, 100):
        days = add_to_day(days, 86400.0 * i, requests=1)
    assert (len(days), days[-1]["day"], days[0]["requests"]) == (90, "1970-04-10", 1)
