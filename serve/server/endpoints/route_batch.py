"""Decisions on many prompts at once, at the speed of the router."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.decision import Decision
from pointsman.core.errors import PointsmanError
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.engine.engine import Engine
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import parse_model_field
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.requests import ChatRequest, make_question
from pointsman.serve.request.context import RequestContext

__all__ = ["decide_batch", "read_prompts"]

MAX_PROMPTS = 10_000
_DECIDED_AT_ONCE = 32  # milliseconds
_AT_ONCE = 512  # prompts that a thread scores before others may be scored


def read_prompts(document: Mapping[str, Any]) -> list[str]:
    """The `prompts` of a request.

    Raises:
        RequestError: 400, naming what was wanted.
    """
    prompts = document["prompts"]
    if not isinstance(prompts, list) or not 1 <= len(prompts) <= MAX_PROMPTS:
        told = f"an array of {len(prompts):,}" if isinstance(prompts, list) else type(prompts).__name__
        raise RequestError(f"prompts is {told}, wanted an array of 1 to {MAX_PROMPTS:,} strings", param="prompts")
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise RequestError(f"prompts[{i}] is {type(prompt).__name__}, wanted a string", param=f"prompts[{i}]")
    for name in ("prompt", "messages", "explain"):
        if document.get(name):
            raise RequestError(f"{name} is given together with prompts, wanted one of them", param=name)
    return prompts


async def decide_batch(engine: Engine, model: str, prompts: list[str], key: AccessKey | None) -> list[Decision]:
    """The pipeline's decision for each prompt; no model is called and nothing is counted.

    Raises:
        RequestError: the model field is wrong, or no model may answer.
    """
    questions = await off_loop(sum(map(len, prompts)), _questions, prompts, model)
    win_rates = await _win_rates(engine, model, [question.prompt for question in questions])
    decisions = []
    for i, (question, win_rate) in enumerate(zip(questions, win_rates, strict=True)):
        context = RequestContext(question, key=key, dry_run=True)
        if question.prompt and not np.isnan(win_rate):
            context.win_rate, context.reason = float(win_rate), "win_rate"
        decisions.append(await engine.decide(context))
        if i % _DECIDED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return decisions


def _questions(prompts: list[str], model: str) -> list[ChatRequest]:
    return [make_question(prompt, model) for prompt in prompts]


async def _win_rates(engine: Engine, model: str, prompts: list[str]) -> FloatArray:
    """Win rates, in batches; NaN where the router fails on a batch: the pipeline scores its prompts one by one."""
    field = parse_model_field(model, routers=engine.routers, models=engine.upstreams)
    found = np.full(len(prompts), np.nan)
    if field.router is None or len(engine.candidates) > 2:  # of several the pipeline needs more than a number
        return found
    router = engine.routers[field.router].router
    for i in range(0, len(prompts), _AT_ONCE):
        part = prompts[i : i + _AT_ONCE]
        try:
            found[i : i + _AT_ONCE] = await engine.threads.run(router.win_rates, part)
        except PointsmanError:
            continue
    return np.where((found >= 0.0) & (found <= 1.0), found, np.nan)
