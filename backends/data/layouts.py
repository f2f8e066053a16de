"""Layouts of public tables: where a row has its prompt, models and scores.

Every layout becomes one of two: outcomes (`prompt, model, score` and, where known, `cost_usd`, `dataset`, `answer` and
numbers of tokens), or battles (`prompt, model_a, model_b, winner`). A table whose columns have these names is taken as
it is.

    routerbench      prompt (a list of parts), a column of scores per model and `<model>|total_cost` beside it;
                     its raw results: prompt, model_name, performance, cost
    llmrouter        query, model_name, performance (LLMRouter)
    embedllm         prompt, model_name, label (EmbedLLM)
    llmrouterbench   one file per model and data set: model_name, records of prompt, score, cost (LLMRouterBench)
    routerarena      prompt, prediction (a model), accuracy, cost (RouterArena's predictions); its stored results:
                     question, llm_selected, evaluation_result of {score, inference_cost}
    sprout           prompt and a column per model of {response, score, num_input_tokens, num_output_tokens}
    rewardbench      prompt, chosen_model, rejected_model (with a dash: UltraFeedback's preferences); the second
                     version: prompt, chosen, rejected (lists), models of both in that order
    nectar           prompt, answers of {model, rank}
    ultrafeedback    instruction, completions of {model, overall_score}
    promptfoo        `promptfoo eval -o results.json`: results of {prompt.raw, provider.id, score, cost}; its CSV
    langfuse         exported observations: input, model, scores, total cost
    openai_evals     a log of `oaieval`: events of sampling and of match, by sample; output items of its API: sample of
                     {input, model}, results of {score, passed}
    arena            model_a, model_b, winner, and conversation_a in place of a prompt
"""

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

from pointsman.backends.data import langfuse, openai_evals, promptfoo
from pointsman.backends.data.outcome_rows import outcome_rows
from pointsman.backends.data.prompts import decode_prompt
from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import encodable, is_missing, number

__all__ = ["OUTCOMES", "layout_of"]

OUTCOMES = ("prompt", "model", "score")
BATTLES = ("prompt", "model_a", "model_b", "winner")

_Row: TypeAlias = Mapping[str, Any]
_Rows: TypeAlias = Callable[[_Row], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table of one origin is read.

    Attributes:
        name: as in the list above.
        wanted: columns that identify it.
        rows: converts one of its rows to rows of outcomes or battles.
        columns: of the table that `rows` gives.
        prompt: the prompt of one of its rows, where the usual way is not right.
        whole: makes rows of outcomes of the whole table instead, where a row means nothing alone.
    """

    name: str
    wanted: frozenset[str]
    rows: _Rows
    columns: tuple[str, ...]
    prompt: Callable[[_Row], str] | None = None
    whole: Callable[[Table], list[dict[str, Any]]] | None = None


def layout_of(names: Collection[str]) -> Layout | None:
    """The layout of a table with these columns; None if it already is outcomes or battles, or is unknown."""
    known = set(names)
    if known >= set(OUTCOMES) or (known >= {"prompt", "model_a", "model_b"}):
        return None
    if "prompt" in known and any(name.endswith("|total_cost") for name in known):
        return _ROUTERBENCH
    if promptfoo.has_outputs(known):
        return _PROMPTFOO_TABLE
    return next((layout for layout in _LAYOUTS if layout.wanted and layout.wanted <= known), None)


def _parts(value: Any) -> str:
    """RouterBench's prompt: the parts of one message, as Python writes a list of them."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return encodable(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return encodable("\n".join(value))
    return decode_prompt(value)


def _routerbench(row: _Row) -> list[dict[str, Any]]:
    models = [name.removesuffix("|total_cost") for name in row if name.endswith("|total_cost")]
    prompt, dataset = _parts(row["prompt"]), row.get("eval_name")
    return [
        made
        for model in models
        if model in row
        for made in outcome_rows(
            prompt, model, row[model], row[f"{model}|total_cost"], dataset, _parts(row.get(f"{model}|model_response"))
        )
    ]


def _raw_routerbench(row: _Row) -> list[dict[str, Any]]:
    answer = _parts(row.get("model_response"))
    return outcome_rows(
        _parts(row["prompt"]), row["model_name"], row["performance"], row.get("cost"), row.get("eval_name"), answer
    )


def _sprout(row: _Row) -> list[dict[str, Any]]:
    scored = {name: value for name, value in row.items() if isinstance(value, Mapping) and "score" in value}
    prompt = decode_prompt(row["prompt"])
    return [
        made
        for model, value in scored.items()
        for made in outcome_rows(
            prompt,
            model,
            value["score"],
            value.get("cost"),
            row.get("dataset"),
            value.get("response"),
            input_tokens=value.get("num_input_tokens"),
            output_tokens=value.get("num_output_tokens"),
        )
    ]


def _preferred(chosen: str, rejected: str) -> _Rows:
    def rows(row: _Row) -> list[dict[str, Any]]:
        models = {"model_a": row[chosen], "model_b": row[rejected]}
        if any(map(is_missing, models.values())):
            return []
        return [{"prompt": decode_prompt(row["prompt"]), **models, "winner": "model_a"}]

    return rows


def _rewardbench2(row: _Row) -> list[dict[str, Any]]:
    prompt, models, n_chosen = decode_prompt(row["prompt"]), list(row["models"]), len(row["chosen"])
    return [
        {"prompt": prompt, "model_a": better, "model_b": worse, "winner": "model_a"}
        for better in models[:n_chosen]
        for worse in models[n_chosen:]
        if better != worse and not is_missing(better) and not is_missing(worse)
    ]


def _anthropic_turn(value: Any) -> str:
    r"""The first human turn of "\n\nHuman: ... \n\nAssistant: "."""
    text = decode_prompt(value)
    if not text.lstrip().startswith("Human:"):
        return text
    return text.lstrip().removeprefix("Human:").partition("\n\nAssistant:")[0].strip()


def _nectar(row: _Row) -> list[dict[str, Any]]:
    prompt = _anthropic_turn(row["prompt"])
    answers = [a for a in row["answers"] or () if not is_missing(a.get("model")) and not is_missing(a.get("rank"))]
    battles = []
    for first, second in combinations(answers, 2):
        ahead = number(second["rank"]) - number(first["rank"])
        winner = "tie" if ahead == 0 else "model_a" if ahead > 0 else "model_b"
        battles.append({"prompt": prompt, "model_a": first["model"], "model_b": second["model"], "winner": winner})
    return battles


def _ultrafeedback(row: _Row) -> list[dict[str, Any]]:
    return [
        made
        for answer in row["completions"] or ()
        for made in outcome_rows(
            row["instruction"],
            answer.get("model"),
            next((answer[name] for name in ("overall_score", "fine-grained_score") if name in answer), None),
            None,
            row.get("source"),
            answer.get("response"),
        )
    ]


def _routerarena(row: _Row) -> list[dict[str, Any]]:
    said = row.get("generated_result")
    answer = said.get("generated_answer") if isinstance(said, Mapping) else None
    return outcome_rows(row["prompt"], row["prediction"], row["accuracy"], row.get("cost"), None, answer)


def _stored_routerarena(row: _Row) -> list[dict[str, Any]]:
    result = row["evaluation_result"]
    if not isinstance(result, Mapping):
        return []
    answer = next((row[name] for name in ("generated_answer", "llm_answer") if row.get(name)), None)
    cost = row.get("cost") if is_missing(result.get("inference_cost")) else result["inference_cost"]
    return outcome_rows(row["question"], row["llm_selected"], result.get("score"), cost, None, answer)


def _renaming(prompt: str, model: str, score: str, cost: str = "", dataset: str = "", answer: str = "") -> _Rows:
    tokens = ("input_tokens", "output_tokens")
    return lambda row: outcome_rows(
        row[prompt], row[model], row[score], row.get(cost), row.get(dataset), row.get(answer),
        **{name: row.get(name) for name in tokens},
    )  # fmt: skip


def _origin(row: _Row) -> str:
    """LLMRouterBench keeps the question as it was asked and, in `prompt`, with its instructions."""
    return decode_prompt(row["origin_query"] if row.get("origin_query") else row["prompt"])


def _llmrouterbench(row: _Row) -> list[dict[str, Any]]:
    answer = next((row[name] for name in ("raw_output", "prediction") if row.get(name)), None)
    return outcome_rows(
        _origin(row), row["model_name"], row["score"], row.get("cost"), row["dataset_name"], answer,
        input_tokens=row.get("prompt_tokens"), output_tokens=row.get("completion_tokens"),
    )  # fmt: skip


def _prompt_in(column: str) -> Callable[[_Row], str]:
    return lambda row: decode_prompt(row[column])


def _layout(
    name: str,
    wanted: str,
    rows: _Rows,
    columns: tuple[str, ...] = OUTCOMES,
    prompt: Callable[[_Row], str] | None = None,
    whole: Callable[[Table], list[dict[str, Any]]] | None = None,
) -> Layout:
    return Layout(name, frozenset(wanted.split(",")), rows, columns, prompt, whole)


_ROUTERBENCH = Layout("routerbench", frozenset(), _routerbench, OUTCOMES, lambda row: _parts(row["prompt"]))
_PROMPTFOO_TABLE = Layout("promptfoo", frozenset(), promptfoo.table_outcomes, OUTCOMES, promptfoo.table_prompt)
_LAYOUTS = (
    _ROUTERBENCH,
    _layout(
        "llmrouter",
        "query,model_name,performance",
        _renaming("query", "model_name", "performance", "cost", "task_name", "response"),
        prompt=_prompt_in("query"),
    ),
    _layout("embedllm", "prompt,model_name,label", _renaming("prompt", "model_name", "label", "", "category")),
    _layout("llmrouterbench", "prompt,model_name,score,dataset_name", _llmrouterbench, prompt=_origin),
    _layout(
        "routerbench",
        "prompt,model_name,performance,eval_name",
        _raw_routerbench,
        prompt=lambda row: _parts(row["prompt"]),
    ),
    _layout("routerarena", "prompt,prediction,accuracy,global index", _routerarena),
    _layout(
        "routerarena", "question,llm_selected,evaluation_result", _stored_routerarena, prompt=_prompt_in("question")
    ),
    _layout("rewardbench", "prompt,chosen_model,rejected_model", _preferred("chosen_model", "rejected_model"), BATTLES),
    _layout("rewardbench", "prompt,chosen-model,rejected-model", _preferred("chosen-model", "rejected-model"), BATTLES),
    _layout("rewardbench", "prompt,chosen,rejected,models,num_correct", _rewardbench2, BATTLES),
    _layout("nectar", "prompt,answers", _nectar, BATTLES, prompt=lambda row: _anthropic_turn(row["prompt"])),
    _layout("ultrafeedback", "instruction,completions", _ultrafeedback, prompt=_prompt_in("instruction")),
    _layout("promptfoo", "prompt,provider,success", promptfoo.json_outcomes, prompt=_prompt_in("prompt")),
    _layout("langfuse", "input,output,scores", langfuse.outcomes, prompt=_prompt_in("input")),
    _layout(
        "openai_evals",
        "sample_id,type,data",
        lambda row: [],
        prompt=openai_evals.event_prompt,
        whole=openai_evals.event_outcomes,
    ),
    _layout(
        "openai_evals", "sample,results,datasource_item", openai_evals.item_outcomes, prompt=openai_evals.item_prompt
    ),
    _layout("sprout", "prompt,golden_answer,dataset_level", _sprout),
)
