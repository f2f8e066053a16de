"""Outcome tables and benchmarks in, figures out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pointsman.backends.evaluation.figures import Options, evaluate_routers, length_ranks
from pointsman.backends.evaluation.holdout import held_out_win_rates
from pointsman.backends.evaluation.html import as_html
from pointsman.backends.evaluation.journal import WinRateJournal, router_key
from pointsman.backends.evaluation.leakage import learnt_from
from pointsman.backends.evaluation.outcome_pairs import PairOutcomes, read_pair_outcomes
from pointsman.backends.evaluation.report import LENGTH, ORACLE
from pointsman.backends.evaluation.routellm import PAIR, read_benchmark
from pointsman.backends.evaluation.text import as_text
from pointsman.backends.plotting.figure import draw
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import DataError
from pointsman.core.metrics import apgr, pgr, quality_curve
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router
from pointsman.core.routers.random import RandomRouter
from pointsman.serve.checkpoints.load import load_checkpoint

FEW = Options(n_replicates=50)


def table(n=200, *, seed=0, groups=0, costs=False):
    """Outcomes in which the weak model fails on long prompts."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 400, n)
    weak = (rng.random(n) > lengths / 400).astype(float)
    return PairOutcomes(
        prompts=tuple(f"{i:04d} " + "x" * int(length) for i, length in enumerate(lengths)),
        strong=np.maximum(weak, rng.random(n) < 0.7),
        weak=weak,
        pair=ModelPair("big", "small"),
        source="table.parquet",
        group=np.array([f"g{k % groups}" for k in range(n)]) if groups else None,
        strong_usd=lengths * 1e-5 if costs else None,
        weak_usd=lengths * 1e-6 if costs else None,
    )


def write_rows(path: Path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def benchmarks(tmp_path):
    """Small files in exactly the layout of RouteLLM's repository."""
    for name in ("mmlu/responses", "gsm8k", "mt_bench"):
        (tmp_path / name).mkdir(parents=True)
    pair = {"prompt": "", PAIR.weak: True, PAIR.strong: True}
    for domain, prompts in (("anatomy", ["a1", "a2", "bad"]), ("law", ["l1", "l1"])):
        rows = [{**pair, "prompt": p, PAIR.weak: p == "a1"} for p in prompts]
        write_rows(tmp_path / f"mmlu/responses/mmlu_{domain}.csv", rows)
    write_rows(tmp_path / "gsm8k/gsm8k_responses.csv", [{**pair, "prompt": p} for p in ("g1", "bad", "g,\n2")])
    questions = [
        {"question_id": q, "category": "w", "turns": [f"q{q}", "more" if q < 83 else "bad"]} for q in (81, 82, 83)
    ]
    write_rows(tmp_path / "mt_bench/question.jsonl", questions)
    judged = [
        {"question_id": q, "model": m, "turn": turn, "score": 10 * (m == PAIR.strong) - turn + 2 * (m == PAIR.weak) + 1}
        for q in (81, 82, 83)
        for m in (PAIR.strong, PAIR.weak)
        for turn in (1, 2)
    ]
    write_rows(tmp_path / "mt_bench/judgements.jsonl", judged)
    for name in ("mmlu", "gsm8k", "mt_bench"):
        write_rows(tmp_path / name / "contaminated_prompts.jsonl", [{"eval_prompt": "bad", "cosine": 0.99}])
    return tmp_path


def test_wide_tables_are_read_with_groups_costs_and_booleans(tmp_path):
    """Columns named after models, text booleans, the group column found by itself."""
    rows = [
        {"prompt": "p", "gpt": "True", "mix": "False", "domain": "d", "strong_usd": "0.1", "weak_usd": "0.01"},
        {"prompt": "q", "gpt": "true", "mix": "1", "domain": "e", "strong_usd": "0.2", "weak_usd": "0.02"},
    ]
    found = read_pair_outcomes(write_rows(tmp_path / "t.csv", rows), strong="gpt", weak="mix")
    assert found.strong.tolist() == [1, 1] and found.weak.tolist() == [0, 1]
    assert found.group.tolist() == ["d", "e"] and found.strong_usd.tolist() == [0.1, 0.2]
    assert found.pair == ModelPair("gpt", "mix")


def test_long_tables_are_read_by_model_name(tmp_path):
    """One row per prompt and model; prompts that only one of the two answered are left out and counted."""
    rows = [
        {"prompt": p, "model": m, "score": s, "cost_usd": c, "dataset": "d"}
        for p, m, s, c in [
            ("p", "big", 1.0, 0.2), ("p", "small", 0.0, 0.1), ("p", "other", 0.5, None),
            ("q", "big", 1.0, 0.4), ("r", "big", 0.5, 0.4), ("r", "small", 0.25, 0.1), ("r", "small", 0.75, 0.3),
        ]
    ]  # fmt: skip
    found = read_pair_outcomes(write_rows(tmp_path / "t.jsonl", rows), strong="big", weak="small")
    assert found.prompts == ("p", "r")
    assert found.weak.tolist() == [0.0, 0.5] and found.weak_usd.tolist() == [0.1, 0.2]
    assert found.notes == ("1 prompt left out: not scored for both models",)


def test_prompts_without_both_scores_are_left_out_and_counted(tmp_path):
    """A missing score is no 0; numbers beside it stay with their prompt."""
    rows = [
        {"prompt": "p", "strong": 1, "weak": None, "rate": 0.1},
        {"prompt": "q", "strong": 1, "weak": 0, "rate": 0.2},
    ]
    found = read_pair_outcomes(write_rows(tmp_path / "t.jsonl", rows), columns=["rate"])
    assert found.prompts == ("q",) and found.columns["rate"].tolist() == [0.2]
    assert found.notes == ("1 prompt left out: not scored for both models",)
    with pytest.raises(DataError, match="no prompt has scores of both 'strong' and 'weak'"):
        read_pair_outcomes(write_rows(tmp_path / "u.jsonl", rows[:1]))


@pytest.mark.parametrize("sources", [None, 3, "", [], [[]], [None, 7], [{"name": "x"}], {"other": 1}])
def test_provenance_of_another_form_names_nothing(sources):
    """Whoever writes a checkpoint may note its sources as he likes."""
    assert not learnt_from(Checkpoint("random", (), ModelPair("a", "b"), provenance={"sources": sources}), "mine.jsonl")


@pytest.mark.parametrize("sources", ["a/mine.jsonl", ["mine"], [["mine.jsonl: 60 rows", "more"]], {"mine": {}}])
def test_a_source_of_the_same_name_is_recognised(sources):
    """However the checkpoint lists it."""
    assert learnt_from(Checkpoint("random", (), ModelPair("a", "b"), provenance={"sources": sources}), "x/mine.jsonl")


def test_win_rates_of_long_tables_are_kept(tmp_path):
    """What `pointsman score` adds to a table with a row per model is read, once per prompt."""
    rows = [{"prompt": p, "model": m, "score": 1, "win_rate": r} for p, r in (("p", 0.3), ("q", 0.7)) for m in "ab"]
    found = read_pair_outcomes(write_rows(tmp_path / "t.jsonl", rows), strong="a", weak="b", columns=["win_rate"])
    assert found.columns["win_rate"].tolist() == [0.3, 0.7]


def test_repeated_prompts_are_merged_and_said(tmp_path):
    """A prompt that occurs twice counts once, with its mean score."""
    rows = [{"prompt": "p", "strong": 1, "weak": 0}, {"prompt": "p", "strong": 1, "weak": 1}]
    found = read_pair_outcomes(write_rows(tmp_path / "t.jsonl", rows))
    assert found.weak.tolist() == [0.5]
    assert found.notes == ("1 row repeats a prompt: merged, their scores averaged",)


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        ([{"prompt": "p", "strong": 1, "weak": float("nan")}], {}, "no prompt has scores of both"),
        ([{"prompt": "p", "strong": 7, "weak": 0}], {}, r"strong score is 7\.0 .*--scale"),
        ([{"prompt": "p", "strong": 1}], {}, "no column 'weak'; its columns are prompt, strong"),
        ([{"prompt": "p", "model": "a", "score": 1}], {}, "name the pair with --strong and --weak, of a"),
        ([{"prompt": "p", "model": "a", "score": 1}], {"strong": "a", "weak": "b"}, "no model 'b'; its models are a"),
        (
            [{"prompt": "p", "model": "a", "score": 1}, {"prompt": "q", "model": "b", "score": 1}],
            {"strong": "a", "weak": "b"},
            "no prompt has scores of both",
        ),
        ([{"prompt": 3, "strong": 1, "weak": 0}], {}, "prompt is 3, wanted a text"),
    ],
)
def test_bad_tables_are_refused(rows, names, message, tmp_path):
    """NaN, scores outside the scale, missing columns and models are errors that name the value and the way out."""
    with pytest.raises(DataError, match=message):
        read_pair_outcomes(write_rows(tmp_path / "t.jsonl", rows), **names)


def test_an_empty_table_is_refused(tmp_path):
    """A file without rows is an error, not an empty report."""
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        read_pair_outcomes(tmp_path / "t.jsonl")


def test_mmlu_is_read_from_routellms_files(benchmarks):
    """A file per domain, contaminated prompts left out, repeats kept, the domain as the group."""
    found = read_benchmark("mmlu", str(benchmarks))
    assert found.prompts == ("a1", "a2", "l1", "l1")
    assert found.strong.tolist() == [1, 1, 1, 1] and found.weak.tolist() == [1, 0, 0, 0]
    assert found.group.tolist() == ["anatomy", "anatomy", "law", "law"]
    assert found.notes[0] == "1 contaminated prompts left out" and "kept" in found.notes[1]


def test_gsm8k_is_read_from_its_own_folder(benchmarks):
    """The folder of one benchmark will do, and quoted fields may hold commas and lines."""
    assert read_benchmark("gsm8k", str(benchmarks / "gsm8k")).prompts == ("g1", "g,\n2")


def test_mt_bench_is_read_with_the_first_turn_as_the_prompt(benchmarks):
    """Scores of both turns are averaged; a question goes if either turn is contaminated; the scale is 1 to 10."""
    found = read_benchmark("mt-bench", str(benchmarks))
    assert found.prompts == ("q81", "q82") and found.scale == (1.0, 10.0)
    assert found.strong.tolist() == [9.5, 9.5] and found.weak.tolist() == [1.5, 1.5]


def test_benchmarks_that_do_not_fit_are_refused(benchmarks, tmp_path):
    """A foreign folder, a model that is not there and an unknown benchmark are errors that say what is."""
    with pytest.raises(DataError, match=r"models are .*Mixtral.*, gpt-4"):
        read_benchmark("mmlu", str(benchmarks), weak="llama")
    with pytest.raises(DataError, match=r"no score of 'llama' for question 81 \(2 such\)"):
        read_benchmark("mt-bench", str(benchmarks), weak="llama")
    with pytest.raises(DataError, match="wanted RouteLLM's files"):
        read_benchmark("mmlu", str(benchmarks / "mmlu" / "responses"))
    with pytest.raises(ValueError, match="mmlu, gsm8k, mt-bench"):
        read_benchmark("arc", str(benchmarks))


def test_every_report_has_its_baselines():
    """Prompt length, random order with its band, and the oracle stand beside every router."""
    outcomes = table()
    found = evaluate_routers(outcomes, {"same as length": length_ranks(outcomes.prompts)}, FEW)
    assert [row.name for row in found.rows] == ["same as length", LENGTH, ORACLE]
    assert found.rows[0].versus_length.value == 0.0 and found.rows[0].versus_length.high == 0.0
    assert found.random.low < 0.5 < found.random.high
    assert found.rows[2].apgr.value >= found.rows[1].apgr.value > 0.5
    assert found.strong.value == outcomes.strong.mean() and found.weak.value == outcomes.weak.mean()


def test_figures_are_those_of_the_curve():
    """APGR and quality at a share agree with the core, and lie inside their intervals."""
    outcomes = table()
    rates = np.random.default_rng(1).random(200)
    row = evaluate_routers(outcomes, {"r": rates}, FEW).rows[0]
    assert row.apgr.value == apgr(quality_curve(rates, outcomes.strong, outcomes.weak))
    assert row.apgr.low < row.apgr.value < row.apgr.high
    assert row.pgr["0.3"] == pytest.approx(pgr(quality_curve(rates, outcomes.strong, outcomes.weak), 0.3))
    assert row.curve["quality"][30] == pytest.approx(row.quality["0.3"].value)
    assert row.curve["low"][30] <= row.curve["quality"][30] <= row.curve["high"][30]


def test_models_of_equal_quality_leave_nothing_to_say():
    """Strong equal to weak everywhere: APGR and CPT are null with a note, never a number."""
    outcomes = table()
    same = PairOutcomes(outcomes.prompts, outcomes.weak, outcomes.weak, outcomes.pair, "same")
    found = evaluate_routers(same, {"r": np.linspace(0, 1, 200)}, FEW)
    for row in found.rows:
        assert row.apgr.value is None and row.cpt["50"].value is None and row.apgr.low is None
    assert found.gap is None and found.random.value is None and "no gap to recover" in found.notes[0]
    assert "nan" not in as_text(found, deciles=True) and "no gap to recover" in as_text(found)
    json.dumps(found.to_dict(), allow_nan=False)
    assert draw(found).startswith("<?xml")


def test_a_constant_router_is_named_as_one():
    """One win rate for all scores exactly like chance and carries a note."""
    row = evaluate_routers(table(), {"stuck": np.full(200, 0.4)}, FEW).rows[0]
    assert row.apgr.value == pytest.approx(0.5) and "same win rate" in row.notes[0]


def test_a_router_may_not_pass_as_a_baseline():
    """The names of the baselines are taken."""
    with pytest.raises(ValueError, match="name of a baseline"):
        evaluate_routers(table(), {LENGTH: np.zeros(200)}, FEW)


@pytest.mark.parametrize("rates", [np.full(200, np.nan), np.full(200, 1.5), np.zeros(3)])
def test_bad_win_rates_are_refused(rates):
    """NaN, values outside [0, 1] and a wrong number of them are errors that name the router."""
    with pytest.raises(ValueError, match="router 'r'"):
        evaluate_routers(table(), {"r": rates}, FEW)


def test_dollars_are_read_off_the_cost_curve():
    """Costs grow from always weak to always strong, and a quality that is never reached costs None."""
    found = evaluate_routers(table(costs=True), {}, Options(n_replicates=20, qualities=(0.0, 2.0)))
    length = found.rows[0]
    assert length.curve["usd"][0] == pytest.approx(found.weak_usd) and length.usd["0"] == pytest.approx(found.weak_usd)
    assert length.curve["usd"][-1] == pytest.approx(found.strong_usd)
    assert length.usd["2"] is None


def test_groups_tell_recognition_from_judgement():
    """A router that knows the group alone has nothing left inside groups; prompt length here judges inside them."""
    rng = np.random.default_rng(3)
    outcomes = table(600, groups=3)
    harder = outcomes.group == "g0"
    weak = np.where(harder & (rng.random(600) < 0.8), 0.0, outcomes.weak)
    outcomes = PairOutcomes(
        outcomes.prompts, np.maximum(outcomes.strong, weak), weak, outcomes.pair, "t", group=outcomes.group
    )
    found = evaluate_routers(outcomes, {"knows group": harder * 1.0}, FEW)
    knows, length = found.rows[0].groups, found.rows[1].groups
    assert abs(knows.judged) < 1e-9 and knows.recognised > 0.55 and knows.within == pytest.approx(0.5, abs=0.01)
    assert length.judged > 0.05 and length.p_value < 0.001
    assert knows.by_group["g0"]["n_prompts"] == 200
    assert set(knows.without_group) == {"g0", "g1", "g2"}


def test_neighbours_recognise_groups_unless_groups_are_held_out():
    """Where only the group tells, neighbours learn it from other prompts and cannot from other groups."""
    words = ["river lake sea water boat", "court judge law trial crime", "atom quark energy field mass"]
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.permutation(words[k % 3].split())) + f" {k}" for k in range(300)]
    group = np.array([f"g{k % 3}" for k in range(300)])
    weak = np.where(group == "g0", rng.random(300) < 0.1, rng.random(300) < 0.9).astype(float)
    outcomes = PairOutcomes(tuple(prompts), np.ones(300), weak, ModelPair("s", "w"), "t", group=group)
    found = evaluate_routers(outcomes, held_out_win_rates(outcomes), FEW)
    by_prompt, by_group = found.rows[0], found.rows[1]
    assert by_prompt.apgr.value > 0.65 > 0.5 > by_group.apgr.value


class Counting(RandomRouter):
    """A router that counts its calls."""

    def __init__(self, limit):
        super().__init__(np.random.default_rng(0))
        self.calls, self.limit = 0, limit

    def win_rates(self, prompts):
        if self.calls == self.limit:
            raise KeyboardInterrupt
        self.calls += 1
        return super().win_rates(prompts)


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(tmp_path):
    """Prompts that are in the journal are not computed again, in any batch, and a line that a crash cut off is."""
    batches, path = [["a", "b"], ["c"], ["d", "e"]], tmp_path / "rates.jsonl"
    first: Router = Counting(limit=2)
    journal = WinRateJournal(path)
    key = router_key(load_checkpoint("random"), ModelPair("a", "b"))
    with pytest.raises(KeyboardInterrupt):
        [journal.win_rates(first, batch, key=key) for batch in batches]
    with path.open("ab") as file:
        file.write(b'{"prompt": "cut o')
    again, rates = Counting(limit=9), []
    journal = WinRateJournal(path)
    rates = [journal.win_rates(again, batch, key=key) for batch in batches]
    assert again.calls == 1 and journal.n_reused == 3
    third = Counting(limit=0)
    for batch, wanted in zip(batches, rates, strict=True):
        assert WinRateJournal(path).win_rates(third, batch, key=key).tolist() == wanted.tolist()
    whole = WinRateJournal(path).win_rates(third, [prompt for batch in batches for prompt in batch], key=key)
    assert whole.tolist() == [rate for each in rates for rate in each]
    with pytest.raises(KeyboardInterrupt):
        WinRateJournal(path).win_rates(third, ["a", "b"], key=key + "x")


def test_a_foreign_file_is_no_journal(tmp_path):
    """A file that something else wrote is refused and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(DataError, match="name another file"):
        WinRateJournal(path)
    assert path.read_text() == "my notes\n"


def test_the_page_stands_alone():
    """Text is escaped, the figure is inside, and nothing is loaded from elsewhere."""
    outcomes = table(groups=4, costs=True)
    found = evaluate_routers(outcomes, {"<b>mine</b>": np.random.default_rng(0).random(200)}, FEW)
    page = as_html(found, draw(found))
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>mine" not in page.split("</svg>")[1]
    assert page.count("<svg") == 1 and "<script" not in page and "<link" not in page and "src=" not in page
    assert "prompt length" in page and "recognised" in page


def test_the_figure_is_the_same_for_the_same_figures(tmp_path):
    """Drawing twice gives the same SVG, and a file where one is named."""
    found = evaluate_routers(table(), {"r": np.random.default_rng(0).random(200)}, FEW)
    assert draw(found) == draw(found)
    assert draw(found, tmp_path / "f.png") is None
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
