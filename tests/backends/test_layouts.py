"""The tables that teams have: each public layout in exactly its own form, read as labels and as prompts."""

import csv
import gzip
import json

import numpy as np
import pytest

from pointsman.backends.data.answers import read_answers
from pointsman.backends.data.battle_files import read_battles
from pointsman.backends.data.labels import read_prompts
from pointsman.backends.data.outcomes import read_outcomes
from pointsman.backends.data.score_tables import read_score_table
from pointsman.backends.evaluation.outcome_pairs import read_pair_outcomes
from pointsman.backends.evaluation.score_files import read_scored_prompts
from pointsman.core.errors import DataError

N = 24
PROMPTS = [f"Prove that theorem {i} holds." for i in range(N)]
RIGHT = [(1, int(i % 3 == 0)) for i in range(N)]  # strong, weak
ASKED = [
    (i, prompt, model, score)
    for i, (prompt, scores) in enumerate(zip(PROMPTS, RIGHT, strict=True))
    for model, score in zip(("strong", "weak"), scores, strict=True)
]


def _user(text):
    return {"role": "user", "content": text}


def _jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def routerbench(folder):
    """withmartian/routerbench: a list of parts as Python writes it, a column per model and its cost beside it."""
    rows = [
        {
            "sample_id": f"mmlu.{i}",
            "prompt": repr(["Answer with one letter.", p]),
            "eval_name": "mmlu",
            "strong": float(s),
            "weak": float(w),
            "strong|model_response": "['A']",
            "strong|total_cost": 0.01,
            "weak|model_response": "['B']",
            "weak|total_cost": 0.001,
            "oracle_model_to_route_to": "weak" if w else "strong",
        }
        for i, (p, (s, w)) in enumerate(zip(PROMPTS, RIGHT, strict=True))
    ]
    return _csv(folder / "routerbench_0shot.csv", rows)


def llmrouter(folder):
    """ulab-uiuc/LLMRouter: a row per query and model."""
    rows = [
        {"task_name": "mmlu", "query": p, "gt": "A", "metric": "em_mc", "model_name": m, "response": "A",
         "input_tokens": 8, "output_tokens": 1, "response_time": 0.3, "performance": float(x), "embedding_id": i}
        for i, p, m, x in ASKED
    ]  # fmt: skip
    return _jsonl(folder / "default_routing_train_data.jsonl", rows)


def embedllm(folder):
    """RZ412/EmbedLLM: train.csv."""
    rows = [
        {"prompt_id": i, "model_id": k, "category_id": 3, "label": x, "prompt": p, "model_name": m, "category": "mmlu"}
        for i, (p, scores) in enumerate(zip(PROMPTS, RIGHT, strict=True))
        for k, (m, x) in enumerate(zip(("strong", "weak"), scores, strict=True))
    ]
    return _csv(folder / "train_embedllm.csv", rows)


def llmrouterbench(folder):
    """NPULH/LLMRouterBench: a JSON file per data set and model."""
    for k, model in enumerate(("strong", "weak")):
        records = [
            {"index": i, "origin_query": p, "prompt": f"Think.\n{p}", "prediction": "A", "ground_truth": "A",
             "score": float(RIGHT[i][k]), "prompt_tokens": 7, "completion_tokens": 5, "cost": 0.01 / (1 + 9 * k)}
            for i, p in enumerate(PROMPTS)
        ]  # fmt: skip
        place = folder / "bench" / "aime" / "hybrid" / model
        place.mkdir(parents=True)
        content = {"performance": 0.5, "demo": False, "model_name": model, "dataset_name": "aime", "split": "hybrid"}
        (place / f"aime-hybrid-{model}-20250901_000000.json").write_text(json.dumps({**content, "records": records}))
    return folder / "bench"


def routerarena(folder):
    """RouteWorks/RouterArena: a router's predictions, with those of the other models for optimality."""
    rows = [
        {"global index": f"MMLU_{i}", "prompt": p, "prediction": m, "generated_result": {"generated_answer": "A"},
         "cost": 0.01, "accuracy": float(x), "for_optimality": m == "weak"}
        for i, p, m, x in ASKED
    ]  # fmt: skip
    (folder / "my_router.json").write_text(json.dumps(rows))
    return folder / "my_router.json"


def sprout(folder):
    """CARROT-LLM-Routing/SPROUT: a struct per model."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    def answer(score):
        return {"num_input_tokens": 9, "num_output_tokens": 4, "response": "A", "score": float(score)}

    rows = [
        {"key": i, "dataset": "mmlu", "dataset_level": None, "dataset_idx": i, "prompt": p, "golden_answer": "A",
         "strong": answer(s), "weak": answer(w)}
        for i, (p, (s, w)) in enumerate(zip(PROMPTS, RIGHT, strict=True))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "sprout.parquet")
    return folder / "sprout.parquet"


def ultrafeedback(folder):
    """openbmb/UltraFeedback: completions with their models."""
    rows = [
        {"source": "sharegpt", "instruction": p, "models": ["strong", "weak"], "correct_answers": ["None"],
         "completions": [{"model": m, "response": "x", "overall_score": float(x), "fine-grained_score": 3.0}
                         for m, x in zip(("strong", "weak"), scores, strict=True)]}
        for p, scores in zip(PROMPTS, RIGHT, strict=True)
    ]  # fmt: skip
    return _jsonl(folder / "sharegpt.jsonl", rows)


def promptfoo(folder):
    """`promptfoo eval -o results.json`."""
    results = [
        {"promptIdx": k, "testIdx": i, "provider": {"id": m, "label": ""}, "prompt": {"raw": p, "label": "p"},
         "vars": {"q": p}, "response": {"output": "x", "cost": 0.1}, "success": bool(x), "score": x, "latencyMs": 9,
         "namedScores": {}, "cost": 0.1}
        for i, (p, scores) in enumerate(zip(PROMPTS, RIGHT, strict=True))
        for k, (m, x) in enumerate(zip(("strong", "weak"), scores, strict=True))
    ]  # fmt: skip
    prompts = [{"raw": "{{q}}", "label": "p", "provider": m} for m in ("strong", "weak")]
    inner = {"version": 3, "timestamp": "2026-01-01", "prompts": prompts, "results": results, "stats": {"successes": 9}}
    path = folder / "promptfoo.json"
    path.write_text(json.dumps({"evalId": "eval-1", "results": inner, "config": {}, "shareableUrl": None}))
    return path


def promptfoo_table(folder):
    """`promptfoo eval -o results.csv`: a column per variable, then six of every output under repeated names."""
    said = ("Status", "Score", "Named Scores", "Grader Reason", "Comment")
    return _outputs(folder, said, lambda x: ["x", "PASS" if x else "FAIL", f"{x:.2f}", "{}", "fine", ""])


def promptfoo_table_with_metrics(folder):
    """The same of 2026: with the reasoning before, and a column for every metric."""
    said = ("Reasoning", "Status", "Score", "Named Scores", "Metric: tone", "Grader Reason", "Comment")
    return _outputs(folder, said, lambda x: ["x", "", "PASS" if x else "FAIL", f"{x:.2f}", "{}", "0.5", "fine", ""])


def promptfoo_old_table(folder):
    """The same of 2024: the status begins the output."""
    said = ("Grader Reason", "Comment", "Latency (ms)")
    return _outputs(folder, said, lambda x: [f"[{'PASS' if x else 'FAIL'}] x", "fine", "", "150"])


def _outputs(folder, said, cells):
    with (folder / "results.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["q", "expected", "[strong] {{ q }}", *said, "[weak] {{q}}", *said])
        out.writerows([p, "A", *cells(s), *cells(w)] for p, (s, w) in zip(PROMPTS, RIGHT, strict=True))
    return folder / "results.csv"


def langfuse(folder):
    """Observations as Langfuse exports them."""
    rows = [
        {"id": f"o{i}{m}", "traceId": f"t{i}", "type": "GENERATION", "name": "answer", "startTime": "2026-01-01",
         "input": {"messages": [{"role": "system", "content": "Be brief."}, _user(p)]}, "output": {"content": "x"},
         "model": m, "totalCost": 0.01, "scores": [{"name": "correctness", "value": x, "dataType": "NUMERIC"}]}
        for i, p, m, x in ASKED
    ]  # fmt: skip
    return _jsonl(folder / "observations.jsonl", rows)


def openai_evals(folder):
    """Logs of `oaieval`, one of each model."""
    place = folder / "evals"
    place.mkdir()
    for k, model in enumerate(("strong", "weak")):
        lines = [{"spec": {"completion_fns": [model], "eval_name": "proofs.dev.v0", "run_id": "r"}}]
        for i, p in enumerate(PROMPTS):
            event = {"run_id": "r", "event_id": i, "sample_id": f"proofs.dev.{i}"}
            prompt = [{"role": "system", "content": "Answer."}, _user(p)]
            lines.append({**event, "type": "sampling", "data": {"prompt": prompt, "sampled": ["A"]}})
            match = {"correct": bool(RIGHT[i][k]), "expected": "A", "picked": "A", "sampled": "A"}
            lines.append({**event, "type": "match", "data": match})
        lines.append({"final_report": {"accuracy": 0.5}})
        _jsonl(place / f"{model}.jsonl", lines)
    return place


def routerbench_raw(folder):
    """withmartian/routerbench: routerbench_raw, a row per prompt and model."""
    rows = [
        {"sample_id": f"mmlu.{i}", "prompt": repr([p]), "eval_name": "mmlu", "model_name": m, "model_response": "['A']",
         "performance": float(x), "cost": 0.01}
        for i, p, m, x in ASKED
    ]  # fmt: skip
    return _csv(folder / "routerbench_raw.csv", rows)


def routerarena_results(folder):
    """RouteWorks/RouterArena: stored results, a file per model."""
    place = folder / "cached_results"
    place.mkdir()
    for k, model in enumerate(("strong", "weak")):
        rows = [
            {"global_index": f"MMLU_{i}", "question": p, "llm_selected": model, "generated_answer": "A",
             "evaluation_result": {"ground_truth": "A", "score": float(RIGHT[i][k]), "inference_cost": 0.01}}
            for i, p in enumerate(PROMPTS)
        ]  # fmt: skip
        _jsonl(place / f"{model}.jsonl", rows)
    return place


def openai_evals_items(folder):
    """Output items of a run, as OpenAI's evals API lists them."""
    items = [
        {"object": "eval.run.output_item", "id": f"o{i}{m}", "status": "pass" if x else "fail",
         "datasource_item": {"question": p}, "results": [{"name": "exact", "passed": bool(x), "score": float(x)}],
         "sample": {"input": [_user(p)], "output": [{"role": "assistant", "content": "x"}], "model": m}}
        for i, p, m, x in ASKED
    ]  # fmt: skip
    (folder / "items.json").write_text(json.dumps({"object": "list", "data": items}))
    return folder / "items.json"


OUTCOMES = (routerbench_raw, routerarena_results, openai_evals_items, routerbench, llmrouter,
             embedllm, llmrouterbench, routerarena, sprout, ultrafeedback, promptfoo, langfuse,
            openai_evals, promptfoo_table, promptfoo_table_with_metrics, promptfoo_old_table)  # fmt: skip


@pytest.mark.parametrize("layout", OUTCOMES, ids=lambda f: f.__name__)
def test_an_outcome_layout_gives_every_score_of_every_model(layout, tmp_path):
    """Outcomes, pair outcomes and battles of a layout say what its file says."""
    source = layout(tmp_path)
    asked = [f"Answer with one letter.\n{p}" for p in PROMPTS] if layout is routerbench else PROMPTS
    found = read_outcomes(source)
    assert sorted(found.models) == ["strong", "weak"] and set(found.prompts) == set(asked)
    many = read_score_table([source], ["strong", "weak"]).of(["strong", "weak"])
    assert dict(zip(many.prompts, map(tuple, many.scores), strict=True)) == dict(zip(asked, RIGHT, strict=True))
    labelled = read_scored_prompts(source, win_rates=lambda p: np.full(len(p), 0.5), labels=("strong", "weak"))
    assert sorted(zip(labelled.strong, labelled.weak, strict=True)) == sorted(RIGHT)
    pair = read_pair_outcomes(source, strong="strong", weak="weak")
    scores = dict(zip(pair.prompts, zip(pair.strong, pair.weak, strict=True), strict=True))
    assert scores == dict(zip(asked, RIGHT, strict=True))
    battles = read_battles(source)
    assert set(battles.prompts) == set(asked) and len(battles) == N
    assert {p for _, part in read_prompts(source) for p in part} - {""} == set(asked)


def arena(name, **columns):
    """A file of battles; `columns` makes one row's columns of a prompt."""

    def write(folder):
        winners = ["model_a", "model_b", "tie", "both_bad"]
        base = [{"model_a": "strong", "model_b": "weak", "winner": winners[i % 4]} for i in range(N)]
        rows = [{**b, **{key: make(p) for key, make in columns.items()}} for b, p in zip(base, PROMPTS, strict=True)]
        return _jsonl(folder / f"{name}.jsonl", rows)

    write.__name__ = name
    return write


def rewardbench(folder):
    """allenai/reward-bench."""
    rows = [
        {"prompt": p, "chosen": "x", "chosen_model": "strong", "rejected": "y", "rejected_model": "weak",
         "subset": "math-prm", "id": i}
        for i, p in enumerate(PROMPTS)
    ]  # fmt: skip
    return _jsonl(folder / "rewardbench.jsonl", rows)


def rewardbench2(folder):
    """allenai/reward-bench-2: chosen and rejected answers, and the models of both in that order."""
    rows = [
        {"id": str(i), "prompt": p, "chosen": ["x"], "rejected": ["y"], "num_correct": 1, "num_incorrect": 1,
         "models": ["strong", "weak"], "subset": "Math"}
        for i, p in enumerate(PROMPTS)
    ]  # fmt: skip
    return _jsonl(folder / "rewardbench2.jsonl", rows)


def preferences(folder):
    """argilla/ultrafeedback-binarized-preferences."""
    rows = [
        {"prompt": p, "chosen": _turns(p), "chosen-rating": 4.0, "chosen-model": "strong", "rejected": _turns(p),
         "rejected-rating": 2.0, "rejected-model": "weak"}
        for p in PROMPTS
    ]  # fmt: skip
    return _jsonl(folder / "preferences.jsonl", rows)


def nectar(folder):
    """berkeley-nest/Nectar: answers with ranks, 1 the best."""
    rows = [
        {"prompt": f"\n\nHuman: {p}\n\nAssistant: ", "turns": 1, "num_responses": 2, "source": ["sharegpt"],
         "answers": [{"answer": "x", "model": "strong", "rank": 1.0}, {"answer": "y", "model": "weak", "rank": 2.0}]}
        for p in PROMPTS
    ]  # fmt: skip
    return _jsonl(folder / "nectar.jsonl", rows)


def _turns(p):
    return [_user(p), {"role": "assistant", "content": "x"}, _user("And now?")]


def _parts(p):
    content = [{"type": "text", "text": p, "image": None, "mimeType": None}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": content}]


BATTLES = (
    arena("labelled", prompt=str),
    arena("arena_33k_and_mt_bench", conversation_a=_turns, conversation_b=_turns, turn=lambda p: 1),
    arena("arena_140k", conversation_a=_parts, conversation_b=_parts),
    arena("kaggle_prompt", prompt=lambda p: json.dumps([p, "next"])),
    arena("turns", prompt=lambda p: [p, "next"]),
    arena("messages", prompt=lambda p: [{"role": "system", "content": "be short"}, _user(p)]),
    arena("sharegpt", conversations=lambda p: [{"from": "human", "value": p}, {"from": "gpt", "value": "x"}]),
    rewardbench,
    rewardbench2,
    preferences,
    nectar,
)


@pytest.mark.parametrize("layout", BATTLES, ids=lambda f: f.__name__)
def test_a_battle_layout_gives_every_winner(layout, tmp_path):
    """Battles of a layout are between the right models on the first turn of a user."""
    source = layout(tmp_path)
    found = read_battles(source)
    assert found.prompts == tuple(PROMPTS) and set(found.battles.models) == {"strong", "weak"}
    share = np.where(found.battles.model_a == found.battles.models.index("strong"), found.battles.outcome, 0)
    assert share.tolist() == (
        [1.0] * N if layout in (rewardbench, rewardbench2, preferences, nectar) else [1.0, 0.0, 0.5, 0.5] * (N // 4)
    )
    assert [p for _, part in read_prompts(source) for p in part] == PROMPTS
    pair = read_pair_outcomes(source, strong="strong", weak="weak")
    assert len(pair) == N and np.allclose(pair.strong + pair.weak, 1.0)
    table = read_score_table([source], ["strong", "weak"]).of(["strong", "weak"])
    assert len(table) == N and np.allclose(table.scores.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "layout",
    [llmrouter, llmrouterbench, routerarena, ultrafeedback, promptfoo, promptfoo_table, promptfoo_old_table, langfuse,
     sprout],
)  # fmt: skip
def test_a_layout_keeps_answers_for_a_verifier(layout, tmp_path):
    """What a model answered is read with its score."""
    found = read_answers(layout(tmp_path), strong="strong", weak="weak")
    assert set(found.prompts) == set(PROMPTS)
    assert all(answer is not None and answer.text in ("A", "x") for answer in found.answers[1])


def test_scores_of_another_range_and_battles_of_many_models_are_said(tmp_path):
    """A range makes scores fit; battles make scores of two models alone."""
    source = ultrafeedback(tmp_path)
    table = read_score_table([source], ["strong", "weak"], scale=(0.0, 2.0))
    assert set(table.scores.ravel()) == {0.0, 0.5}
    with pytest.raises(DataError, match="depend on the opponent"):
        read_score_table([rewardbench(tmp_path)], ["strong", "weak", "other"])
    with pytest.raises(DataError, match="no battle of 'other'"):
        read_score_table([rewardbench(tmp_path)], ["strong", "other"])


CHATS = {
    "messages": lambda p: {"messages": _turns(p)},
    "conversation": lambda p: {"conversation": _turns(p), "language": "English"},
    "json_text": lambda p: {"prompt": json.dumps(_turns(p))},
    "request_body": lambda p: {"prompt": {"model": "gpt-4", "messages": _turns(p)}},
    "openai_eval_samples": lambda p: {"input": _turns(p), "ideal": "A"},
}


@pytest.mark.parametrize("name", CHATS)
def test_chat_logs_are_prompts(name, tmp_path):
    """Of chat logs, plain or compressed or a folder of them, the first user turn is the prompt."""
    rows = [CHATS[name](p) for p in PROMPTS]
    plain = _jsonl(tmp_path / "chat.ndjson", rows)
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows[1:]).encode()))
    (folder / "a.json").write_text(json.dumps(rows[0]))
    for source in (plain, folder, f"{folder}/*"):
        assert [p for _, part in read_prompts(source) for p in part] == PROMPTS
