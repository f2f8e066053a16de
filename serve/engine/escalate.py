"""Reads the cheap model's answer before the client gets it, and asks the next model if it is not good enough.

An answer is never lost: if the next model fails, the cheap answer is returned. Nothing of an answer
reaches the client before the decision, and an escalated answer contains nothing of the one before it. A client that
disconnects cancels whatever is running.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter

from pointsman.core.answer_signals import Answer
from pointsman.serve.config.cascade import CascadeConfig, PrefixConfig
from pointsman.serve.engine.answer_checks import check_answer
from pointsman.serve.engine.held_stream import HeldStream, Replay, collect
from pointsman.serve.engine.paid_signals import PaidSignals
from pointsman.serve.engine.second_look import LEAST_CHECKED, SecondLook
from pointsman.serve.engine.served_verifier import ServedVerifier
from pointsman.serve.http.errors import RequestError, UpstreamFailure
from pointsman.serve.protocols.logprobs import WithoutLogprobs, ask_for_logprobs, hide_logprobs, refuses_logprobs
from pointsman.serve.protocols.off_loop import off_loop
from pointsman.serve.protocols.said import Said, read_said
from pointsman.serve.request.cascade_run import CascadeRun, Stage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.upstreams.attempts import Answered, Failover
from pointsman.serve.upstreams.base import Call

__all__ = ["Escalation"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether an answer is good enough, and why."""

    accepted: bool
    reason: str
    win_rate: float | None = None


class Escalation:
    """Asks the models of a cascade in order, until an answer is good enough.

    Attributes:
        refused_logprobs: models that rejected requests for log-probabilities, and are not asked for them again.
    """

    def __init__(
        self,
        config: CascadeConfig,
        verifiers: Mapping[str, ServedVerifier],
        failover: Failover,
        paid: PaidSignals,
        *,
        second_look: SecondLook,
        refused_logprobs: set[str],
    ) -> None:
        self._second_look = second_look
        self.refused_logprobs = refused_logprobs
        self._config = config
        self._verifiers = verifiers
        self._failover = failover
        self._paid = paid
        self._prefix = config.stream.prefix if isinstance(config.stream, PrefixConfig) else None

    async def answer(self, context: RequestContext, run: CascadeRun, call: Call, candidates: Sequence[str]) -> Answered:
        """The first answer that is good enough, or the last model's.

        Args:
            candidates: the first model and its fallbacks.

        Raises:
            RequestError: the model is not served on this API.
            UpstreamFailure: there was no answer at all.
        """
        if not call.stream:
            return await self._climb(context, run, call, candidates)
        climbing = asyncio.get_running_loop().create_task(self._climb(context, run, call, candidates))
        try:
            done, _ = await asyncio.wait({climbing}, timeout=self._config.keep_alive_s)
        except asyncio.CancelledError:
            await _cancel(climbing)
            raise
        if done:
            return climbing.result()
        stream = context.surface.stream()
        held = HeldStream(climbing, stream, every_s=self._config.keep_alive_s, tell=run.header)
        return held.answered(run.models[0])

    async def _climb(self, context: RequestContext, run: CascadeRun, call: Call, candidates: Sequence[str]) -> Answered:
        kept: Answered | None = None
        try:
            for place, model in enumerate(run.models):
                last = place == len(run.models) - 1
                started = perf_counter()
                try:
                    who = candidates if place == 0 else [model]
                    answered, asked = await self._ask(context, run, call, who, reads=not last)
                except UpstreamFailure as failure:
                    if kept is None:
                        raise
                    run.stages.append(Stage(model, "failed", failure.code, seconds=perf_counter() - started))
                    continue
                if answered.reply.status >= 400:
                    if kept is None:
                        return answered
                    run.stages.append(
                        Stage(model, "failed", str(answered.reply.status), seconds=perf_counter() - started)
                    )
                    continue
                if answered.model != model or last:
                    if answered.model != model:
                        run.stages.append(Stage(model, "failed", "fallback"))
                    run.stages.append(Stage(answered.model, "answered", "", seconds=perf_counter() - started))
                    await _discard(kept)
                    kept, found = None, await self._shown(answered, asked)
                    return found
                verdict, shown = await self._read(context, run, call, answered, asked)
                word = "accepted" if verdict.accepted else "escalated"
                run.stages.append(
                    Stage(model, word, verdict.reason, verdict.win_rate, seconds=perf_counter() - started)
                )
                await _discard(kept)
                kept = shown
                if verdict.accepted:
                    break
            if kept is None:
                raise RuntimeError("a cascade ended without an answer: it has at least two models")
            run.answered_by, found, kept = kept.model, kept, None
            return found
        finally:
            await _discard(kept)
            if run.answered_by is None and run.stages and run.stages[-1].verdict == "answered":
                run.answered_by = run.stages[-1].model
            if context.decision is not None and (run.look == "cascade" or run.escalated):
                context.decision = replace(context.decision, reason=f"cascade: {run.header()}")

    async def _ask(
        self, context: RequestContext, run: CascadeRun, call: Call, models: Sequence[str], *, reads: bool
    ) -> tuple[Answered, bool]:
        """The answer, and whether it has log-probabilities that the client did not ask for."""
        model, new_stream = models[0], context.surface.stream
        verifier = self._verifiers.get(model) if reads and run.look == "cascade" else None
        wanted = None
        certified = verifier is None and reads and run.certified is not None
        asks = self._config.logprobs and (certified or (verifier is not None and verifier.reads_probabilities))
        if asks and model not in self.refused_logprobs:
            wanted = await off_loop(len(call.body), ask_for_logprobs, call.body, call.document, call.path)
        if wanted is None:
            return await self._failover.ask(call, models, new_stream, context.attempts), False
        body, document = wanted
        try:
            answered = await self._failover.ask(
                replace(call, body=body, document=document), models, new_stream, context.attempts
            )
            refused = answered.model == model and refuses_logprobs(answered.reply.status, answered.reply.body)
        except RequestError:  # a translator that has no such parameter
            refused = True
        if not refused:
            return answered, True
        plain = await self._failover.ask(call, models, new_stream, context.attempts)
        if plain.model == model and plain.reply.status < 400:
            _LOG.warning("model %s rejects logprobs; its answers are checked without them from now on", model)
            self.refused_logprobs.add(model)
        return plain, False

    async def _read(
        self, context: RequestContext, run: CascadeRun, call: Call, answered: Answered, asked: bool
    ) -> tuple[_Verdict, Answered]:
        """The verdict on an answer, and the answer as the client will see it."""
        if answered.stream is None or answered.reply.chunks is None:
            said = read_said(answered.reply.parsed())
            verdict = await self._judge(context, run, call, answered.model, said)
            return verdict, await self._shown(answered, asked)
        beginning = await collect(answered.reply.chunks, up_to=self._prefix)
        if answered.stream.failed:
            verdict = _Verdict(False, "broken")
        else:
            said = read_said(beginning.reader.document())
            verdict = await self._judge(context, run, call, answered.model, said, partial=not beginning.whole)
        replay = Replay(beginning.events, None if beginning.whole else answered.reply.chunks)
        shown = replace(answered, reply=replace(answered.reply, chunks=replay))
        return verdict, await self._shown(shown, asked)

    async def _judge(
        self,
        context: RequestContext,
        run: CascadeRun,
        call: Call,
        model: str,
        said: list[Said],
        *,
        partial: bool = False,
    ) -> _Verdict:
        if run.certified is not None:
            return await self._look_again(context, run, said)
        document = context.request.document
        if failed := check_answer(said, document, self._config.checks, partial=partial):
            return _Verdict(False, failed)
        score = None
        if self._paid.checker is not None and not partial:
            score = await self._paid.checker.score(context.request.prompt, said, document)
        verifier = self._verifiers.get(model) if run.look == "cascade" else None
        win_rate = None
        if verifier is not None and said:
            win_rate = await self._win_rate(context, call, model, verifier, said, score)
        if verifier is not None and win_rate is not None and win_rate >= verifier.threshold(context):
            return _Verdict(False, "verifier", win_rate)
        if score is not None and score < LEAST_CHECKED:
            return _Verdict(False, "checker", win_rate)
        return _Verdict(True, "unread" if win_rate is None else "verifier", win_rate)

    async def _look_again(self, context: RequestContext, run: CascadeRun, said: list[Said]) -> _Verdict:
        """The verdict by the certified threshold."""
        assert run.certified is not None
        try:
            run.score, reason = await self._second_look.score(context, said)
        except Exception:  # noqa: BLE001  (an answer is never lost for what was thought of it)
            _LOG.exception("an answer of %s could not be scored", run.models[0])
            run.score, reason = 1.0, "unread"
        score = run.certified(run.score)
        return _Verdict(score < (run.threshold or 0.0), reason, score)

    async def _win_rate(
        self,
        context: RequestContext,
        call: Call,
        model: str,
        verifier: ServedVerifier,
        said: list[Said],
        score: float | None,
    ) -> float | None:
        first = said[0]
        agreement = p_true = None
        if verifier.reads("agreement"):
            agreement = await self._paid.agreement(context, call, model, first)
        if verifier.reads("p_true"):
            p_true = await self._paid.p_true(context, call, first)
        answers = [
            Answer(
                one.text,
                token_logprobs=one.logprobs,
                margin=one.margin,
                output_tokens=one.output_tokens or len(one.logprobs) or None,
                finish_reason=one.finish_reason,
                agreement=agreement,
                p_true=p_true,
                checker=score,
            )
            for one in said
        ]
        try:
            return await verifier.read(context, answers)
        except Exception:  # noqa: BLE001  (an answer is never lost for what was thought of it)
            _LOG.exception("the verifier failed on an answer of %s", model)
            return None

    async def _shown(self, answered: Answered, asked: bool) -> Answered:
        """The answer without the log-probabilities that the client did not ask for."""
        reply = answered.reply
        if not asked:
            return answered
        if reply.chunks is not None:
            return replace(answered, reply=replace(reply, chunks=WithoutLogprobs(reply.chunks)))
        if b'logprobs"' not in reply.body:
            return answered
        body = await off_loop(len(reply.body), hide_logprobs, reply.parsed())
        return replace(answered, reply=replace(reply, body=body, document=None))


async def _discard(answered: Answered | None) -> None:
    """Closes an answer that nobody will see."""
    if answered is not None and answered.reply.chunks is not None:
        await answered.reply.chunks.aclose()


async def _cancel(task: "asyncio.Task[Answered]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, UpstreamFailure, RequestError):
        await _discard(await task)
