"""RouteLLM's benchmarks in RouteLLM's files: outcomes of GPT-4 and Mixtral on MMLU, GSM8K and MT-Bench.

    <folder>/mmlu/responses/mmlu_<domain>.csv          prompt, and whether each model was right: True or False
    <folder>/mmlu/contaminated_prompts.jsonl           eval_prompt: prompts to leave out
    <folder>/gsm8k/gsm8k_responses.csv                 as for MMLU
    <folder>/gsm8k/contaminated_prompts.jsonl
    <folder>/mt_bench/question.jsonl                   question_id, turns; the first turn is what a router sees
    <folder>/mt_bench/judgements.jsonl                 question_id, model, score from 1 to 10, one row per turn
    <folder>/mt_bench/contaminated_prompts.jsonl       a question goes if either turn is named

The folder of one benchmark (`.../mmlu`) will do as well, and so will a Hugging Face data set with these files.
"""

from pathlib import Path

import numpy as np

from pointsman.backends.data.labels import prompt_texts
from pointsman.backends.data.tables import Table, read_table
from pointsman.backends.evaluation.outcome_pairs import PairOutcomes
from pointsman.core.counted import counted
from pointsman.core.errors import DataError, MissingExtraError
from pointsman.core.pair import ModelPair

__all__ = ["PAIR", "read_benchmark"]

PAIR = ModelPair("gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1")
BENCHMARKS = ("mmlu", "gsm8k", "mt-bench")
_FOLDERS = {"mmlu": "mmlu", "gsm8k": "gsm8k", "mt-bench": "mt_bench"}
_CONTAMINATED = "contaminated_prompts.jsonl"


def read_benchmark(name: str, source: str, *, strong: str | None = None, weak: str | None = None) -> PairOutcomes:
    """Outcomes of one benchmark; prompts that its file of contaminated prompts names are left out, repeats stay.

    Args:
        name: one of `BENCHMARKS`.
        source: the folder, or the id of a Hugging Face data set.
        strong, weak: names of the models in the files; RouteLLM's pair if None.

    Raises:
        ValueError: no such benchmark.
        DataError: a file is missing or malformed, or does not know a model.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark is {name!r}, wanted one of {', '.join(BENCHMARKS)}")
    folder = _folder(Path(source) if Path(source).is_dir() else _download(source), _FOLDERS[name])
    pair = ModelPair(strong or PAIR.strong, weak or PAIR.weak)
    return _mt_bench(folder, pair) if name == "mt-bench" else _right_or_wrong(folder, name, pair)


def _right_or_wrong(folder: Path, name: str, pair: ModelPair) -> PairOutcomes:
    if name == "gsm8k":
        files = {"gsm8k": folder / "gsm8k_responses.csv"}
    else:
        files = {p.stem.removeprefix("mmlu_"): p for p in sorted((folder / "responses").glob("mmlu_*.csv"))}
        if not files:
            raise DataError(f"{folder / 'responses'} has no files mmlu_<domain>.csv")
    prompts: list[str] = []
    group: list[str] = []
    sides: list[list[float]] = [[], []]
    for domain, path in files.items():
        table = read_table(path)
        prompts += prompt_texts(table, "prompt")
        group += [domain] * len(table)
        for side, model in zip(sides, (pair.strong, pair.weak), strict=True):
            side += _known(table, model)
    left_out = _contaminated(folder)
    kept = np.array([prompt not in left_out for prompt in prompts], dtype=bool)
    return PairOutcomes(
        prompts=tuple(prompt for prompt, keep in zip(prompts, kept, strict=True) if keep),
        strong=np.array(sides[0])[kept],
        weak=np.array(sides[1])[kept],
        pair=pair,
        source=f"{name} in {folder}",
        group=np.array(group)[kept] if name == "mmlu" else None,
        notes=_notes(int((~kept).sum()), prompts),
    )


def _mt_bench(folder: Path, pair: ModelPair) -> PairOutcomes:
    questions = read_table(folder / "question.jsonl", columns=["question_id", "turns"])
    left_out = _contaminated(folder)
    turns = dict(zip(questions.column("question_id"), questions.column("turns"), strict=True))
    for question, texts in turns.items():
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise DataError(
                f"{questions.source}: turns of question {question!r} are {texts!r:.60}, wanted a list of texts"
            )
    kept = {question: texts for question, texts in turns.items() if not left_out.intersection(texts)}
    judged = read_table(folder / "judgements.jsonl", columns=["question_id", "model", "score"])
    found: dict[tuple[object, str], list[float]] = {}
    for question, model, score in zip(
        judged.column("question_id"), judged.texts("model"), judged.numbers("score"), strict=True
    ):
        found.setdefault((question, model), []).append(float(score))
    sides = []
    for model in (pair.strong, pair.weak):
        missing = [question for question in kept if (question, model) not in found]
        if missing:
            raise DataError(
                f"{judged.source} has no score of {model!r} for question {missing[0]!r} ({len(missing)} such)"
            )
        sides.append(np.array([np.mean(found[question, model]) for question in kept]))
    prompts = [texts[0] for texts in kept.values()]
    return PairOutcomes(
        prompts=tuple(prompts),
        strong=sides[0],
        weak=sides[1],
        pair=pair,
        source=f"mt-bench in {folder}",
        scale=(1.0, 10.0),
        notes=_notes(len(turns) - len(kept), prompts),
    )


def _known(table: Table, model: str) -> list[float]:
    if model not in table.columns:
        others = ", ".join(name for name in table.columns if name != "prompt")
        raise DataError(f"{table.source} has no column for model {model!r}; its models are {others}")
    return [float(score) for score in table.scores(model)]


def _contaminated(folder: Path) -> set[str]:
    return set(read_table(folder / _CONTAMINATED, columns=["eval_prompt"]).texts("eval_prompt"))


def _notes(n_left_out: int, prompts: list[str]) -> tuple[str, ...]:
    repeated = len(prompts) - len(set(prompts))
    notes = (f"{n_left_out:,} contaminated prompts left out",)
    return (
        (*notes, f"{counted(repeated, 'row repeats', 'rows repeat')} a prompt: kept, as the benchmark does")
        if repeated
        else notes
    )


def _folder(source: Path, name: str) -> Path:
    for folder in (source / name, source):
        if (folder / _CONTAMINATED).is_file():
            return folder
    raise DataError(f"{source} holds neither {name}/{_CONTAMINATED} nor {_CONTAMINATED}: wanted RouteLLM's files")


def _download(source: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "data") from error
    try:
        return Path(huggingface_hub.snapshot_download(source, repo_type="dataset"))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise DataError(f"{source} is neither a folder nor a data set that can be fetched: {error}") from error
