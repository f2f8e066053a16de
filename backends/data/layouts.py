"""Layouts of public tables: which prompt a row asks, and what it says of models.

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
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

from pointsman.backends.data import promptfoo
from pointsman.backends.data.prompts import decode_prompt
from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import encodable, is_missing, number

__all__ = ["BATTLES", "LAYOUTS", "OUTCOMES", "Layout", "layout_of", "table_rows"]

OUTCOMES = ("prompt", "model", "score")
BATTLES = ("prompt", "model_a", "model_b", "winner")

_Row: TypeAlias = Mapping[str, Any]
_Rows: TypeAlias = Callable[[_Row], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table of one origin is read.

    Attributes:
        name: as in the list above.
        wanted: columns that tell it apart.
        rows: what one of its rows says, as rows of outcomes or battles.
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
    """The layout of a table with these columns; None where it is outcomes or battles as it is, or none is known."""
    known = set(names)
    if known >= set(OUTCOMES) or (known >= {"prompt", "model_a", "model_b"}):
        return None
    if "prompt" in known and any(name.endswith("|total_cost") for name in known):
        return _ROUTERBENCH
    if promptfoo.has_outputs(known):
        return _PROMPTFOO_TABLE
    return next((layout for layout in LAYOUTS if layout.wanted and layout.wanted <= known), None)


def table_rows(table: Table) -> list[dict[str, Any]]:
    """The rows of a table, each with its columns by name."""
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]


def _outcome(
    prompt: Any, model: Any, score: Any, cost: Any = None, dataset: Any = None, answer: Any = None, **tokens: Any
) -> list[dict[str, Any]]:
    if is_missing(model):
        return []
    found = {
        "prompt": prompt if isinstance(prompt, str) else decode_prompt(prompt),
        "model": str(model),
        "score": score,
    }
    said = {"answer": encodable(answer)} if isinstance(answer, str) and answer.strip() else {}
    counted = {name: value for name, value in tokens.items() if not is_missing(value)}
    return [found | {"cost_usd": cost, "dataset": dataset} | said | counted]


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
        for made in _outcome(
            prompt, model, row[model], row[f"{model}|total_cost"], dataset, _parts(row.get(f"{model}|model_response"))
        )
    ]


def _raw_routerbench(row: _Row) -> list[dict[str, Any]]:
    answer = _parts(row.get("model_response"))
    return _outcome(
        _parts(row["prompt"]), row["model_name"], row["performance"], row.get("cost"), row.get("eval_name"), answer
    )


def _sprout(row: _Row) -> list[dict[str, Any]]:
    scored = {name: value for name, value in row.items() if isinstance(value, Mapping) and "score" in value}
    prompt = decode_prompt(row["prompt"])
    return [
        made
        for model, value in scored.items()
        for made in _outcome(
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
        for made in _outcome(
            row["instruction"],
            answer.get("model"),
            next((answer[name] for name in ("overall_score", "fine-grained_score") if name in answer), None),
            None,
            row.get("source"),
            answer.get("response"),
        )
    ]


def _promptfoo(row: _Row) -> list[dict[str, Any]]:
    prompt, model, score, cost, answer = promptfoo.said_of(row)
    return _outcome(prompt, model, score, cost, None, answer)


def _promptfoo_table(row: _Row) -> list[dict[str, Any]]:
    return [
        made
        for prompt, model, score, answer in promptfoo.table_outputs(row)
        for made in _outcome(prompt, model, score, None, None, answer)
    ]


def _langfuse(row: _Row) -> list[dict[str, Any]]:
    model = next(
        (row[n] for n in ("providedModelName", "provided_model_name", "model") if not is_missing(row.get(n))), None
    )
    costs = ("totalCost", "total_cost", "calculatedTotalCost", "cost")
    cost = next((row[name] for name in costs if not is_missing(row.get(name))), None)
    answer = _content(row["output"])
    return _outcome(row["input"], model, _langfuse_score(row["scores"]), cost, None, answer)


def _content(output: Any) -> Any:
    """The text of an output: itself, or the content of a message, also as JSON."""
    if isinstance(output, str) and output.lstrip().startswith("{"):
        try:
            output = json.loads(output)
        except ValueError:
            return output
    return output.get("content") if isinstance(output, Mapping) else output


def _langfuse_score(scores: Any) -> Any:
    """The first number among the scores: a list of {name, value}, an object by name, or a number."""
    if isinstance(scores, str) and scores.strip().startswith(("[", "{")):
        try:
            scores = ast.literal_eval(scores.replace("null", "None").replace("true", "True").replace("false", "False"))
        except (ValueError, SyntaxError):
            return None
    found: list[Any] = (
        list(scores.values()) if isinstance(scores, Mapping) else scores if isinstance(scores, list) else [scores]
    )
    values = [value.get("value") if isinstance(value, Mapping) else value for value in found]
    values = [value[0] if isinstance(value, list) and value else value for value in values]
    return next((value for value in values if not is_missing(value) and number(value) == number(value)), None)


def _evals_events(table: Table) -> list[dict[str, Any]]:
    """Outcomes of a log: its specification names the model, samplings the prompts, matches the scores."""
    model, prompts, scores = None, {}, {}
    for row in table_rows(table):
        spec, data = row.get("spec"), row.get("data")
        if isinstance(spec, Mapping):
            model = next(iter(spec.get("completion_fns") or ()), None) or spec.get("model_name") or model
        if not isinstance(data, Mapping):
            continue
        key = (model, row.get("sample_id"))
        if row.get("type") == "sampling" and key not in prompts:
            prompts[key] = data.get("prompt")
        score = next((data[name] for name in ("correct", "score", "accuracy") if not is_missing(data.get(name))), None)
        if score is not None:
            scores[key] = score
    return [made for key, score in scores.items() for made in _outcome(prompts.get(key), key[0], score)]


def _evals_item(row: _Row) -> list[dict[str, Any]]:
    """An output item of OpenAI's evals API: the mean of its graders' scores."""
    sample, results = row["sample"], [found for found in row["results"] or () if isinstance(found, Mapping)]
    scores = [found.get("passed") if is_missing(found.get("score")) else found["score"] for found in results]
    known = [number(score) for score in scores if not is_missing(score)]
    if not isinstance(sample, Mapping):
        return []
    answer = next((_content(message) for message in reversed(sample.get("output") or ())), None)
    return _outcome(sample.get("input"), sample.get("model"), sum(known) / len(known) if known else None, answer=answer)


def _item_prompt(row: _Row) -> str:
    sample = row["sample"]
    return decode_prompt(sample.get("input")) if isinstance(sample, Mapping) else ""


def _routerarena(row: _Row) -> list[dict[str, Any]]:
    said = row.get("generated_result")
    answer = said.get("generated_answer") if isinstance(said, Mapping) else None
    return _outcome(row["prompt"], row["prediction"], row["accuracy"], row.get("cost"), None, answer)


def _stored_routerarena(row: _Row) -> list[dict[str, Any]]:
    result = row["evaluation_result"]
    if not isinstance(result, Mapping):
        return []
    answer = next((row[name] for name in ("generated_answer", "llm_answer") if row.get(name)), None)
    cost = row.get("cost") if is_missing(result.get("inference_cost")) else result["inference_cost"]
    return _outcome(row["question"], row["llm_selected"], result.get("score"), cost, None, answer)


def _evals_prompt(row: _Row) -> str:
    data = row.get("data")
    return decode_prompt(data.get("prompt")) if isinstance(data, Mapping) else ""


def _renaming(prompt: str, model: str, score: str, cost: str = "", dataset: str = "", answer: str = "") -> _Rows:
    tokens = ("input_tokens", "output_tokens")
    return lambda row: _outcome(
        row[prompt], row[model], row[score], row.get(cost), row.get(dataset), row.get(answer),
        **{name: row.get(name) for name in tokens},
    )  # fmt: skip


def _origin(row: _Row) -> str:
    """LLMRouterBench keeps the question as it was asked and, in `prompt`, with its instructions."""
    return decode_prompt(row["origin_query"] if row.get("origin_query") else row["prompt"])


def _llmrouterbench(row: _Row) -> list[dict[str, Any]]:
    answer = next((row[name] for name in ("raw_output", "prediction") if row.get(name)), None)
    return _outcome(
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
_PROMPTFOO_TABLE = Layout("promptfoo", frozenset(), _promptfoo_table, OUTCOMES, promptfoo.table_prompt)
LAYOUTS = (
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
    _layout("promptfoo", "prompt,provider,success", _promptfoo, prompt=_prompt_in("prompt")),
    _layout("langfuse", "input,output,scores", _langfuse, prompt=_prompt_in("input")),
    _layout("openai_evals", "sample_id,type,data", lambda row: [], prompt=_evals_prompt, whole=_evals_events),
    _layout("openai_evals", "sample,results,datasource_item", _evals_item, prompt=_item_prompt),
    _layout("sprout", "prompt,golden_answer,dataset_level", _sprout),
)
