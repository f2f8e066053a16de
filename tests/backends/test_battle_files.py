"""Battles from every format in use, and what is reported on the way."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.data.battle_files import battles_from_table, read_battles
from pointsman.backends.data.battle_sets import BattleSet, concatenate
from pointsman.backends.data.outcomes import merge_outcomes, outcome_battles, outcomes_from_table, read_outcomes
from pointsman.backends.data.table_writer import write_table
from pointsman.backends.data.tables import Table
from pointsman.core.battles import Battles, win_table
from pointsman.core.errors import DataError

LABELLED = {
    "prompt": ["hello", "hello", "bye", "bye", " "],
    "model_a": ["x", "y", "x", "z", "x"],
    "model_b": ["y", "x", "z", "z", "y"],
    "winner": ["model_a", "tie", "model_b", "tie (bothbad)", "model_a"],
}
ARENA = {
    "id": [1, 2, 3],
    "prompt": ['["first turn", "second turn"]', '["a \\u00fc b"]', "[null]"],
    "model_a": ["gpt-4", "koala-13b", "gpt-4"],
    "model_b": ["koala-13b", "palm-2", "palm-2"],
    "response_a": ["[]", "[]", "[]"],
    "winner_model_a": [1, 0, 0],
    "winner_model_b": [0, 1, 0],
    "winner_tie": [0, 0, 1],
}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_the_arena_format_is_read_from_any_file(tmp_path, suffix):
    """The 55k data set and the Kaggle CSV: first user turn, one-hot winner, any names, empty prompts reported."""
    path = tmp_path / f"arena{suffix}"
    write_table(Table(ARENA), path)
    found = read_battles(path)
    assert [found.prompts[i] for i in found.prompt] == ["first turn", "a ü b"]
    assert found.battles.outcome.tolist() == [1.0, 0.0]
    names = [
        (found.battles.models[a], found.battles.models[b])
        for a, b in zip(found.battles.model_a, found.battles.model_b, strict=True)
    ]
    assert names == [("gpt-4", "koala-13b"), ("koala-13b", "palm-2")]
    assert "empty prompt, dropped: 1 (rows 3)" in str(found.reports[0])


def test_both_orders_are_averaged_and_reported():
    """Two judgements of one prompt and pair, sides swapped, are one battle with the mean outcome."""
    found = battles_from_table(Table(LABELLED))
    assert len(found) == 3
    assert found.battles.outcome.tolist() == [0.75, 0.0, 0.5]
    assert "prompt and pair judged again, averaged: 1 (rows 2)" in str(found.reports[0])
    assert len(battles_from_table(Table(LABELLED), average=False)) == 4


def test_a_learner_without_ties_says_how_many_it_dropped():
    """Ties and battles of a model with itself go where the learner asks for it, and are counted."""
    decisive = battles_from_table(Table(LABELLED)).decisive()
    assert len(decisive) == 2
    assert "model against itself, dropped: 1" in str(decisive.reports[0])
    between = battles_from_table(Table(LABELLED)).between_models()
    assert len(between) == 2


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("winner", "A", "unknown winner 'A' in row 3 .*wanted one of model_a, model_b, tie"),
        ("model_a", 7, "row 3: model_a is 7"),
        ("prompt", 7, "row 3: prompt is 7"),
    ],
)
def test_a_malformed_row_is_named(column, value, message):
    """Nothing is guessed: an unknown label or a wrong type is an error with its row."""
    broken = {**LABELLED, column: [*LABELLED[column][:2], value, *LABELLED[column][3:]]}
    with pytest.raises(DataError, match=message):
        battles_from_table(Table(broken))


def test_malformed_arena_rows_are_named():
    """Two winners are an error with their row."""
    with pytest.raises(DataError, match=r"row 1: .* wanted exactly one 1"):
        battles_from_table(Table({**ARENA, "winner_tie": [1, 0, 1]}))


def test_columns_of_no_format_are_refused_with_the_formats(tmp_path):
    """A table in none of the formats is an error that lists them."""
    write_table(Table({"question": ["x"], "answer": ["y"]}), tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"wanted prompt, model_a, model_b, winner, or .* or prompt, model, score"):
        read_battles(tmp_path / "a.csv")


OUTCOMES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=40
)


def _table(rows):
    return Table(
        {
            "prompt": [f"p{p}" for p, _, _ in rows],
            "model": [f"m{m}" for _, m, _ in rows],
            "score": [s for *_, s in rows],
        }
    )


@given(OUTCOMES)
def test_outcomes_become_the_battles_of_all_pairs(rows):
    """Of every two models that answered a prompt the higher mean score wins, equal ones tie; checked pair by pair."""
    means = {}
    for p, m, s in rows:
        means.setdefault((p, m), []).append(s)
    means = {key: sum(values) / len(values) for key, values in means.items()}
    expected = {
        (f"p{p}", frozenset((f"m{m}", f"m{k}"))): 0.5
        if means[p, m] == means[p, k]
        else f"m{m if means[p, m] > means[p, k] else k}"
        for p, m in means
        for q, k in means
        if p == q and m < k
    }
    made = outcome_battles(outcomes_from_table(_table(rows)))
    found = {}
    for a, b, outcome, p in zip(
        made.battles.model_a, made.battles.model_b, made.battles.outcome, made.prompt, strict=True
    ):
        names = (made.battles.models[a], made.battles.models[b])
        winner = {1.0: names[0], 0.0: names[1], 0.5: 0.5}[outcome]
        found[made.prompts[p], frozenset(names)] = winner
    assert found == expected
    assert len(made) == len(expected)


def test_a_table_with_a_column_per_model_is_an_outcome_table(tmp_path):
    """`prompt, strong, weak` gives the battles that the same scores give as `prompt, model, score`."""
    wide, long = tmp_path / "wide.csv", tmp_path / "long.csv"
    wide.write_text("prompt,strong,weak,domain\np,1,0,x\nq,0.5,0.5,x\np,0,0,x\n ,1,1,x\n")
    long.write_text("prompt,model,score\np,strong,1\nq,strong,0.5\np,strong,0\np,weak,0\nq,weak,0.5\np,weak,0\n")
    found, expected = read_battles(wide), read_battles(long)
    assert found.prompts == expected.prompts
    assert found.battles.models == expected.battles.models == ("strong", "weak")
    assert found.battles.outcome.tolist() == expected.battles.outcome.tolist() == [1.0, 0.5]
    assert "wide.csv, column weak" in str(found.reports[1])
    with pytest.raises(DataError, match=r"wide.csv, column weak, row 2: score is 'x'"):
        wide.write_text("prompt,strong,weak\np,1,0\nq,1,x\n")
        read_outcomes(wide)


def test_columns_may_be_called_as_the_models_are(tmp_path):
    """A column of scores per model is read by the models' names; a missing score is left out and counted."""
    path = tmp_path / "wide.jsonl"
    rows = [{"prompt": "p", "gpt 4": True, "mini": False, "other": 1}, {"prompt": "q", "gpt 4": True}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_outcomes(path, ["gpt 4", "mini"])
    assert found.models == ("gpt 4", "mini") and found.score.tolist() == [1, 0, 1]
    assert "no score, dropped: 1 (rows 2)" in str(found.reports[1])
    assert read_battles(path, models=["gpt 4", "mini"]).battles.outcome.tolist() == [1.0]
    with pytest.raises(DataError, match=r"has columns gpt 4, .*wanted outcomes: .* or prompt, strong, weak; name"):
        read_outcomes(path)


@given(OUTCOMES, st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_limits_hold_and_depend_on_the_seed_alone(rows, per_prompt, per_pair, seed):
    """No prompt or pair has more battles than asked for, none is made up, and a seed repeats the choice."""
    outcomes = outcomes_from_table(_table(rows))
    some, again = (
        outcome_battles(outcomes, max_per_prompt=per_prompt, max_per_pair=per_pair, seed=seed) for _ in range(2)
    )

    def keys(made):
        return [tuple(row) for row in np.stack([made.prompt, made.battles.model_a, made.battles.model_b], axis=1)]

    assert keys(some) == keys(again)
    assert set(keys(some)) <= set(keys(outcome_battles(outcomes)))
    assert max(np.bincount(some.prompt), default=0) <= per_prompt
    table = win_table(some.battles)
    assert (table + table.T).max(initial=0) <= per_pair


def test_scores_within_the_margin_tie():
    """A margin makes near scores equal; without it the smallest difference wins."""
    outcomes = outcomes_from_table(Table({"prompt": ["p", "p"], "model": ["x", "y"], "score": [0.5, 0.45]}))
    assert outcome_battles(outcomes).battles.outcome.tolist() == [1.0]
    assert outcome_battles(outcomes, margin=0.1).battles.outcome.tolist() == [0.5]


def test_merged_tables_share_prompts_and_models():
    """Equal prompts and models of two tables are one; what both hold is averaged."""
    first = outcomes_from_table(Table({"prompt": ["p", "q"], "model": ["x", "x"], "score": [1, 1]}))
    second = outcomes_from_table(Table({"prompt": ["q", "q"], "model": ["y", "x"], "score": [1, 0]}))
    merged = merge_outcomes([first, second])
    assert merged.prompts == ("p", "q")
    assert merged.models == ("x", "y")
    assert merged.score.tolist() == [1.0, 0.5, 1.0]
    with pytest.raises(DataError, match="no outcomes are left"):
        merge_outcomes([outcomes_from_table(Table({"prompt": [" "], "model": ["x"], "score": [1]}))])


def test_sources_are_joined_by_name():
    """Battles of several sources share models and prompts of one name, and keep every report."""
    parts = [
        battles_from_table(Table({name: values[i : i + 2] for name, values in LABELLED.items()}, source=f"s{i}"))
        for i in (0, 2)
    ]
    joined = concatenate(parts)
    assert joined.prompts == ("hello", "bye")
    assert set(joined.battles.models) == {"x", "y", "z"}
    assert [report.source for report in joined.reports] == ["s0", "s2"]
    dropped = joined.decisive().reports
    assert [report.source for report in dropped] == ["s0", "s2", "all sources together"]
    assert len(dropped[-1].findings) == 1
    empty = BattleSet(Battles(("x",), [], [], [], []), (), [])
    with pytest.raises(DataError, match="no battles are left"):
        concatenate([empty])


def test_real_sources_give_half_a_million_battles(shared_data):
    """The public outcomes convert to over 500,000 decided battles of over 100 models."""
    names = ("outcomes_eq_bench", "outcomes_mmlu_pro", "outcomes_lookahead")
    joined = concatenate([outcome_battles(read_outcomes(shared_data / f"{name}.parquet")).decisive() for name in names])
    assert len(joined) > 500_000
    assert len(joined.battles.models) > 100


def test_json_turns_keep_their_characters(tmp_path):
    """Escapes of a JSON conversation are decoded: what is embedded is what the user wrote."""
    turn = 'quote " and ünïcode \U0001f600'
    table = Table({**{n: v[:1] for n, v in ARENA.items()}, "prompt": [json.dumps([turn])]})
    assert battles_from_table(table).prompts == (turn,)
