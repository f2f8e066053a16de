"""Judging: verdicts, both orders, the journal and the dollar ceiling."""

import asyncio
import json
import math
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backends.data.answers import read_answers
from pointsman.core.errors import DataError, UpstreamError
from pointsman.core.prices import Price
from pointsman.serve.judging.budget import estimate_tokens
from pointsman.serve.judging.journal import Journal, Reply, call_key
from pointsman.serve.judging.judge import Judging, JudgingReport, estimate_cost_usd, judge_prompts
from pointsman.serve.judging.verdict import judge_prompt, parse_verdict

PROMPTS = [f"question {i}" for i in range(12)]
PRICES = {"big": Price(10.0, 30.0), "small": Price(1.0, 2.0), "judge": Price(5.0, 15.0)}


class DeathError(Exception):
    """The process ends here."""


class World:
    """Two models and a judge that knows the key: `big` is right on even questions, `small` on every third."""

    def __init__(self, *, die_after: int | None = None) -> None:
        self.paid: list[str] = []
        self.running = self.most_running = 0
        self._die_after = die_after

    async def ask(self, model: str, prompt: str) -> Reply:
        if len(self.paid) == self._die_after:
            raise DeathError
        self.paid.append(call_key(model, prompt, ""))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await asyncio.sleep(0.001)
        self.running -= 1
        return Reply(self._text(model, prompt), refused=False, input_tokens=estimate_tokens(prompt), output_tokens=20)

    def _text(self, model: str, prompt: str) -> str:
        if model != "judge":
            number = int(prompt.split()[1])
            return "right" if number % {"big": 2, "small": 3}[model] == 0 else "wrong"
        a = prompt.split("<answer_a>\n")[1].startswith("right")
        b = prompt.split("<answer_b>\n")[1].startswith("right")
        return "Because. " + ("[[C]]" if a == b else "[[A]]" if a else "[[B]]")


def _judging(**options) -> Judging:
    return Judging("big", "small", "judge", **options)


def _run(world: World, path: Path, judging: Judging, prompts: list[str] = PROMPTS) -> JudgingReport:
    with Journal(path) as journal:
        return asyncio.run(judge_prompts(prompts, judging, world.ask, journal))


def test_battles_follow_the_answer_key_in_both_orders(tmp_path):
    """Each prompt gives two battles, with the names swapped and the winner whom the key names."""
    report = _run(World(), tmp_path / "j", _judging())
    assert report.n_prompts == 12
    assert report.n_calls == 24 + 2 * 6  # six prompts have equal answers, and need no judge
    assert len(report.battles) == 24
    for i, (one, two) in enumerate(zip(report.battles[::2], report.battles[1::2], strict=True)):
        right = {"big": i % 2 == 0, "small": i % 3 == 0}
        winner = None if right["big"] == right["small"] else max(right, key=right.get)
        assert one["prompt"] == two["prompt"] == PROMPTS[i]
        assert (one["model_a"], one["model_b"], two["model_a"], two["model_b"]) == ("big", "small", "small", "big")
        for battle in (one, two):
            assert (None if battle["winner"] == "tie" else battle[battle["winner"]]) == winner


@pytest.mark.parametrize("die_after", [0, 1, 7, 30, 35])
def test_a_killed_run_goes_on_without_paying_twice(tmp_path, die_after):
    """Whenever it dies, the second run makes only the calls that are missing and ends with the same battles."""
    wanted = _run(World(), tmp_path / "whole", _judging()).battles
    first, second = World(die_after=die_after), World()
    with pytest.raises(DeathError):
        _run(first, tmp_path / "j", _judging(concurrency=1))
    recorded = {json.loads(line)["key"] for line in (tmp_path / "j").read_text().splitlines()}
    report = _run(second, tmp_path / "j", _judging())
    assert report.battles == wanted
    assert not recorded & set(second.paid)
    assert len(recorded) + len(second.paid) == 36
    assert len(first.paid) - len(recorded) <= 1  # at most the calls that were under way
    assert report.n_from_journal == len(recorded)


@settings(max_examples=15)
@given(st.floats(1e-4, 0.1), st.integers(1, 8))
def test_the_ceiling_is_never_broken(tmp_path_factory, ceiling, concurrency):
    """Whatever the ceiling and the number of calls at once, no more dollars are spent, over two runs together."""
    path = tmp_path_factory.mktemp("j") / "j"
    judging = _judging(prices=PRICES, max_cost_usd=ceiling, max_tokens=20, concurrency=concurrency)
    for _ in range(2):
        report = _run(World(), path, judging)
        assert report.spent_usd <= ceiling + 1e-12
        assert report.stopped == (report.n_prompts < 12)


def test_the_estimate_is_an_upper_bound(tmp_path):
    """The run costs no more than was announced."""
    judging = _judging(prices=PRICES, max_tokens=20)
    report = _run(World(), tmp_path / "j", judging)
    assert 0 < report.spent_usd <= estimate_cost_usd(judging, PROMPTS)


def test_no_more_calls_at_once_than_allowed(tmp_path):
    """Concurrency is a limit on calls, not on prompts."""
    world = World()
    _run(world, tmp_path / "j", _judging(concurrency=3))
    assert world.most_running == 3


def test_calls_keep_the_pace(tmp_path):
    """With a rate limit, the last of 8 calls starts no sooner than 7 intervals after the first."""
    report = _run(World(), tmp_path / "j", _judging(requests_per_minute=6000.0), PROMPTS[2:4])
    assert report.n_calls == 8

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with Journal(tmp_path / "k") as journal:
            await judge_prompts(PROMPTS[2:4], _judging(requests_per_minute=6000.0), World().ask, journal)
        return loop.time() - started

    assert asyncio.run(timed()) >= 0.07


def test_refusals_unparsable_verdicts_and_failures_are_counted(tmp_path):
    """Nothing is guessed: such prompts give no battle, and the report says how many and why."""

    async def ask(model: str, prompt: str) -> Reply:
        if model == "small" and prompt == "question 0":
            raise UpstreamError("small answered 500")
        if model == "judge" and "question 3\n" in prompt:
            return Reply("I would rather not say.", refused=True, input_tokens=1, output_tokens=1)
        if model == "judge" and "question 2\n" in prompt:
            return Reply("[[A]] or perhaps [[B]]", refused=False, input_tokens=1, output_tokens=1)
        return await World().ask(model, prompt)

    with Journal(tmp_path / "j") as journal:
        report = asyncio.run(judge_prompts([PROMPTS[i] for i in (0, 2, 3, 4)], _judging(), ask, journal))
    assert (report.n_failed, report.n_refused, report.n_unparsable, report.n_prompts) == (1, 2, 2, 1)
    assert report.failures == ["small answered 500"]
    assert {battle["prompt"] for battle in report.battles} == {"question 4"}


def test_a_prompt_that_occurs_twice_is_paid_once(tmp_path):
    """Duplicates are judged once."""
    report = _run(World(), tmp_path / "j", _judging(), ["question 2", "question 2"])
    assert (report.n_calls, len(report.battles)) == (4, 2)


@given(st.text(), st.text(), st.text())
def test_material_cannot_change_the_template(prompt, a, b):
    """Braces and markers in a prompt or an answer stay text."""
    asked = judge_prompt(prompt, a, b)
    assert f"<request>\n{prompt}\n</request>" in asked
    assert f"<answer_a>\n{a}\n</answer_a>" in asked
    assert f"<answer_b>\n{b}\n</answer_b>" in asked


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("A is better.\n[[A]]", "model_a"),
        ("[[B]] [[B]]", "model_b"),
        ("[[C]]", "tie"),
        ("[[A]] no, [[B]]", None),
        ("[A]", None),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    """One kind of mark is a verdict; none or two kinds are not."""
    assert parse_verdict(text) == verdict


def test_a_line_cut_short_is_dropped_and_a_foreign_file_refused(tmp_path):
    """After a crash in the middle of a line the journal goes on; a file of something else is left alone."""
    path = tmp_path / "j"
    _run(World(), path, _judging(), PROMPTS[2:3])
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with Journal(path) as journal:
        assert len(journal) == 3
    (tmp_path / "foreign").write_text("dear diary\n")
    with pytest.raises(DataError, match="line 1: not a line of a journal"), Journal(tmp_path / "foreign"):
        pass
    assert (tmp_path / "foreign").read_text() == "dear diary\n"


def test_two_runs_cannot_share_a_journal(tmp_path):
    """A second process on the same journal is refused, so that nothing is paid twice."""
    with Journal(tmp_path / "j"), pytest.raises(DataError, match="in use by another run"), Journal(tmp_path / "j"):
        pass


def test_impossible_wishes_are_refused():
    """One model, limits that are not positive, and a ceiling without prices are errors."""
    with pytest.raises(ValueError, match="two different models"):
        Judging("big", "big", "judge")
    with pytest.raises(ValueError, match="concurrency is 0"):
        _judging(concurrency=0)
    with pytest.raises(ValueError, match="needs the price of small"):
        _judging(prices={"big": PRICES["big"], "judge": PRICES["judge"]}, max_cost_usd=1.0)
    with pytest.raises(ValueError, match="non-negative"):
        Price(-1.0, 0.0)


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_verifier_learns_from_stands_beside_the_verdict(tmp_path, keep):
    """Signals always, texts where they are asked for; in both orders each side has its own answer's."""
    report = _run(World(), tmp_path / "journal", _judging(keep_answers=keep))
    for row in report.battles:
        number = int(row["prompt"].split()[1])
        for side in "ab":
            right = number % {"big": 2, "small": 3}[row[f"model_{side}"]] == 0
            length = len("right" if right else "wrong")
            assert json.loads(row[f"signals_{side}"])["characters"] == pytest.approx(math.log1p(length))
            assert row.get(f"answer_{side}") == (("right" if right else "wrong") if keep else None)
    path = tmp_path / "battles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in report.battles))
    table = read_answers(str(path), strong="big", weak="small")
    truth = [int(p.split()[1]) for p in table.prompts]
    gains = [float(n % 2 == 0) - float(n % 3 == 0) for n in truth]
    assert (table.score[:, 0] - table.score[:, 1]).tolist() == gains
    assert all(answer["tokens"] == pytest.approx(math.log1p(20)) for answer in table.answers[1])


def test_the_journal_keeps_what_was_told_of_an_answer(tmp_path):
    """Log-probabilities and the reason of the end are there after a restart; older journals are read without them."""
    reply = Reply("4", False, 3, 1, (-0.5,), 1.5, "stop")
    with Journal(tmp_path / "j") as journal:
        journal.add("k", "small", reply)
    with (tmp_path / "j").open("a") as file:
        old = {"key": "o", "model": "big", "text": "5", "refused": False, "input_tokens": 3, "output_tokens": 1}
        file.write(json.dumps(old) + "\n")
    with Journal(tmp_path / "j") as journal:
        assert journal.get("k") == reply
        assert journal.get("o") == Reply("5", False, 3, 1)


def test_a_journal_on_a_full_disk_keeps_what_it_holds(tmp_path):
    """A line that does not fit leaves no half of it behind, and the journal can be gone on with."""
    path, reply = tmp_path / "j", Reply("text", False, 1, 1)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        journal.add("one", "m", reply)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 9, most))
        try:
            with pytest.raises(DataError, match=r"j cannot be written to: .*: run the same command again"):
                journal.add("two", "m", reply)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        journal.add("three", "m", reply)
        assert journal.get("two") is None
    with Journal(path) as journal:
        assert (len(journal), journal.get("one"), journal.get("three")) == (2, reply, reply)
    with pytest.raises(DataError, match="/dev/full is not a regular file"), Journal("/dev/full"):
        pass
