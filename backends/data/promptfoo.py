"""Results of promptfoo: the JSON of `promptfoo eval -o results.json`, and the table of `-o results.csv`.

The table has a column for every variable, then for every output a column `[provider] prompt` and what was said of it:
`Status`, `Score`, `Grader Reason`, ..., under the same names for each output. `told_apart` prefixes them with their
output's. Older versions begin the output itself with its status: "[PASS] Paris".
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pointsman.backends.data.outcome_rows import outcome_rows
from pointsman.backends.data.prompts import PROMPT_COLUMNS, decode_prompt
from pointsman.backends.data.values import is_missing
from pointsman.core.errors import DataError

__all__ = ["has_outputs", "json_outcomes", "table_outcomes", "table_prompt", "told_apart"]

_SAID = ("Reasoning", "Status", "Score", "Named Scores", "Grader Reason", "Comment", "Latency (ms)")
_OUTPUT = re.compile(r"\[([^\]\s]+)\] ")
_STATUS = re.compile(r"\[(PASS|FAIL|ERROR)\]\s?")
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*(?:\|[^}]*)?\}\}")


def json_outcomes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcome in one of the JSON's results."""
    provider, response = row["provider"], row.get("response")
    model = (provider.get("label") or provider.get("id")) if isinstance(provider, Mapping) else provider
    score = row.get("success") if is_missing(row.get("score")) else row["score"]
    answer = response.get("output") if isinstance(response, Mapping) else response
    return outcome_rows(row["prompt"], model, score, row.get("cost"), None, answer)


def table_outcomes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outcomes in one row of the table."""
    return [
        made
        for prompt, model, score, answer in _outputs(row)
        for made in outcome_rows(prompt, model, score, None, None, answer)
    ]


def told_apart(header: Sequence[str]) -> list[str]:
    """Names of a table's columns: "Score" behind "[gpt-4o] {{q}}" becomes "[gpt-4o] {{q}}|Score"."""
    names, output = [], ""
    for name in header:
        said = bool(output) and (name in _SAID or name.startswith("Metric: "))
        output = output if said else name if _OUTPUT.match(name) else ""
        names.append(f"{output}|{name}" if said else name)
    return names


def has_outputs(names: Collection[str]) -> bool:
    """Whether a table's columns are those of promptfoo."""
    return any(_OUTPUT.match(name) for name in names)


def _outputs(row: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Prompt, model, score (None where the model was not asked) and answer of every output in a row."""
    for name in row:
        match = _OUTPUT.match(name)
        if match is None or ("|" in name and name.rpartition("|")[0] in row):
            continue
        text = str(row[name] or "")
        status = _STATUS.match(text)
        passed = row.get(f"{name}|Status") or (status[1] if status else None)
        score = row.get(f"{name}|Score")
        score = (None if is_missing(passed) else float(passed == "PASS")) if is_missing(score) else score
        yield _prompt(row, name[match.end() :]), match[1], score, text[status.end() :] if status else text


def table_prompt(row: Mapping[str, Any]) -> str:
    """The first prompt of a row."""
    return next((prompt for prompt, *_ in _outputs(row)), "")


def _prompt(row: Mapping[str, Any], template: str) -> str:
    """Column `prompt`; the prompt as it was asked, where the output's name is its template; or the one variable."""
    if "prompt" not in row and _VARIABLE.search(template):
        return _VARIABLE.sub(lambda match: str(row.get(match[1], match[0])), template)
    variables = [name for name in row if not _OUTPUT.match(name) and name != "Description"]
    place = next((name for name in PROMPT_COLUMNS if name in variables), variables[0] if len(variables) == 1 else None)
    if place is None:
        raise DataError(f"the prompt is one of {', '.join(variables) or 'no columns'}: say which with --prompt-column")
    return decode_prompt(row[place])
