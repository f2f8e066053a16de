"""`pointsman judge --engine ray`: judges a folder of prompts; all actors share one budget."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.core.errors import DataError
from pointsman.serve.commands.on_ray import prompt_column, report, run_job, shard_job
from pointsman.serve.judging.budget import Budget
from pointsman.serve.judging.journal import Journal
from pointsman.serve.judging.judge import Judging, JudgingReport, estimate_cost_usd, judge_prompts

if TYPE_CHECKING:
    from pointsman.backends.data.shards import Shard
    from pointsman.backends.ray.purse import SharedPurse

__all__ = ["judge_on_ray"]

_ROWS = 8192
_AT_ONCE = 64  # prompts that are drawn for together: what they can cost at most is out of the others' reach meanwhile
_JOURNALS = "_journals"
_BATTLE = ("prompt", "model_a", "model_b", "winner", "judge")
_SUMS = ("n_prompts", "n_calls", "n_from_journal", "n_refused", "n_unparsable", "n_failed")


@dataclass(frozen=True, slots=True)
class _Work:
    """The settings of an actor."""

    judging: Judging
    parameters: dict[str, Any]
    config: str | None
    base_url: str | None
    column: str | None
    purse: "SharedPurse | None"


def judge_on_ray(args: argparse.Namespace, judging: Judging, parameters: dict[str, Any]) -> int:
    """Judges shard by shard. A shard is written once all its prompts are judged; paid calls are kept at once.

    Each actor reserves the most that its next prompts can cost and returns what they did not, so that the ceiling
    holds for any number of actors; what a killed actor had reserved is lost to this run, not to the next.
    """
    from pointsman.backends.ray.cluster import connected
    from pointsman.backends.ray.purse import SharedPurse

    if "://" in args.output:
        raise DataError(f"output {args.output} is remote, wanted a folder that all nodes share: it holds paid calls")
    models = [judging.model_a, judging.model_b, judging.judge]
    key = {"command": "judge", "models": models, "settings": judging.settings, "column": prompt_column(args)}
    job = shard_job(args, key, rows=_ROWS)
    reports: list[JudgingReport] = []
    with connected(args.address) as ray:
        ceiling = judging.max_cost_usd
        purse = None if ceiling is None else SharedPurse(ray, ceiling - _spent_usd(args.output, judging))
        work = _Work(judging, parameters, args.config, args.base_url, prompt_column(args), purse)
        run_job(job, partial(_prepare, work), args, "Judging", lambda _, done: reports.append(done))
    facts: dict[str, Any] = {name: sum(getattr(done, name) for done in reports) for name in _SUMS}
    facts |= {"n_shards": len(job.shards), "n_shards_left": len(job.pending())}
    facts["failures"] = [failure for done in reports for failure in done.failures][:5]
    report(args, {**facts, "spent_usd": _spent_usd(args.output, judging), "stopped": any(d.stopped for d in reports)})
    return 0 if not facts["n_shards_left"] else 1


def _prepare(work: _Work) -> Callable[["Shard"], JudgingReport]:
    return partial(_judge_shard, work)


def _judge_shard(work: _Work, shard: "Shard") -> JudgingReport:
    from pointsman.backends.data.shards import read_shard, shard_prompts, write_texts

    prompts: list[str] = []
    for first, table in read_shard(shard, None if work.column is None else [work.column]):
        prompts += shard_prompts(table, work.column, shard, first)
    distinct = list(dict.fromkeys(prompt for prompt in prompts if prompt.strip()))
    with Journal(Path(shard.output, _JOURNALS, f"{shard.name}.journal")) as journal:
        done = asyncio.run(_judge(work, distinct, journal))
    if not done.stopped and not done.n_failed:
        write_texts(shard, {name: [battle[name] for battle in done.battles] for name in _BATTLE})
    done.battles = []  # they are in the file
    return done


async def _judge(work: _Work, prompts: Sequence[str], journal: Journal) -> JudgingReport:
    from pointsman.serve.commands.ask_model import ControllerAsk
    from pointsman.serve.config.load import read_values
    from pointsman.serve.python_api.controller import Controller

    judging, total = work.judging, JudgingReport()
    values = dict(read_values(work.config)) if work.config else {}
    models: dict[str, Any] = {name: {} for name in (judging.model_a, judging.model_b, judging.judge)}
    values["models"] = {**models, **(values.get("models") or {})}
    with Controller(["random"], judging.model_a, judging.model_b, values, api_base=work.base_url) as controller:
        ask = ControllerAsk(controller, work.parameters)
        for i in range(0, len(prompts), _AT_ONCE):
            part = prompts[i : i + _AT_ONCE]
            paid = _cost_usd(judging, journal)
            drawn = work.purse.draw(estimate_cost_usd(judging, part)) if work.purse is not None else 0.0
            ceiling = paid + drawn if work.purse is not None else None
            if ceiling is not None and ceiling <= 0.0:
                total.stopped = True
                break
            found = await judge_prompts(part, replace(judging, max_cost_usd=ceiling), ask, journal)
            if work.purse is not None and ceiling is not None:
                work.purse.give_back(ceiling - found.spent_usd)
            _add(total, found)
            if total.stopped:
                break
    return total


def _add(total: JudgingReport, part: JudgingReport) -> None:
    for name in _SUMS:
        setattr(total, name, getattr(total, name) + getattr(part, name))
    total.battles += part.battles
    total.failures = [*total.failures, *part.failures][:5]
    total.stopped = part.stopped


def _cost_usd(judging: Judging, journal: Journal) -> float:
    """Dollars of the calls in a journal."""
    budget = Budget(judging.prices, max_cost_usd=None, max_tokens=judging.max_tokens)
    for model, reply in journal.replies():
        budget.spend(model, reply)
    return budget.spent_usd


def _spent_usd(output: str, judging: Judging) -> float:
    """Dollars of all calls so far, also in unfinished shards."""
    total = 0.0
    for path in sorted(Path(output, _JOURNALS).glob("*.journal")):
        with Journal(path) as journal:
            total += _cost_usd(judging, journal)
    return total
