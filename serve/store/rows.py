"""Row types of the store's tables, one per table. Times are seconds since 1970 (UTC), kept to the millisecond."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

__all__ = [
    "AutopilotRow",
    "ComparisonRow",
    "DecisionRow",
    "FeedbackRow",
    "Row",
    "SpendRow",
    "StatusRow",
    "clean_text",
    "row_values",
]


@dataclass(slots=True, kw_only=True)  # one is made for every request: a frozen one takes six times as long
class DecisionRow:
    """One request.

    Attributes:
        id: the row's own; ids sort by `at`, and those of one process in order of creation. No two rows
            share one, whatever ids the clients give their requests.
        request_id: what the client saw as x-pointsman-request-id; not unique where clients repeat theirs.
        at: when the request ended.
        path: where it was sent.
        requested: its model field; None if it could not be read.
        model: the model that answered, if any.
        decided: the chosen model; None if the request was rejected before.
        router: the router that scored the prompt; None for pass-through.
        checkpoint: name of the router's checkpoint; None where no router was asked.
        win_rate: strong model's win rate in [0, 1]; None where no router was asked or it failed.
        threshold: strong iff win_rate >= threshold; None where none applied.
        policy: rule that set the threshold; None where none applied.
        reason: why the decision is as it is.
        key_id: the access key; None if no keys are required.
        tier: the key's.
        session: its conversation, if known.
        prompt_hash: HMAC-SHA256 of the prompt, in hexadecimal; None by configuration or without a prompt.
        prompt: its text; None by configuration or if there is none.
        embedding: of the prompt, little-endian float32; None by configuration or if there is none.
        input_tokens, output_tokens, cached_tokens: as in `Usage`; None where not known.
        usage_estimated: whether the tokens were estimated here.
        cost_usd: what the answer cost; None where not known.
        strong_usd, weak_usd: what it would have cost of the strong, the weak model, estimated; None where not known.
        outcome, status, stream, trail: as in `Record`.
        routing_ms, upstream_ms, total_ms: for the decision, from it to the first byte, for everything.
        reference: the strong model, of more candidates the one that the others are measured against; None where the
            request was not routed, and in rows of older versions.
        weighed: of more than two candidates what was weighed of each, in the order of the choice, see
            `Decision.weighed_facts`; None for a pair.
        share: how far the expected bill went from the cheapest candidate's (0) to the reference's (1); None for a pair.
        expected_usd: expected bill of the model that was decided on; None where it was not known, or for a pair.
        rule: the configured rule that the request met; None if it met none, and in rows of older versions.
    """

    id: str
    request_id: str
    at: float
    path: str
    requested: str | None = None
    model: str | None = None
    decided: str | None = None
    router: str | None = None
    checkpoint: str | None = None
    win_rate: float | None = None
    threshold: float | None = None
    policy: str | None = None
    reason: str | None = None
    key_id: str | None = None
    tier: str | None = None
    session: str | None = None
    prompt_hash: str | None = None
    prompt: str | None = None
    embedding: bytes | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usage_estimated: bool = False
    cost_usd: float | None = None
    strong_usd: float | None = None
    weak_usd: float | None = None
    outcome: str = "answered"
    status: int = 200
    stream: bool = False
    trail: tuple[str, ...] = ()
    routing_ms: float | None = None
    upstream_ms: float | None = None
    total_ms: float = 0.0
    reference: str | None = None
    weighed: list[dict[str, Any]] | None = None
    share: float | None = None
    expected_usd: float | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow:
    """What a client said of an answer.

    Attributes:
        id: the row's own; ids sort by `at`.
        request_id: of the answer.
        kind: e.g. "rating" or "preference".
        value: what was said, as a number.
        key_id: who said it; None where no keys are asked for.
        comment: in words.
        decision_id: of the answer's row among the decisions; None where it is not known.
    """

    id: str
    request_id: str
    at: float
    kind: str
    value: float
    key_id: str | None = None
    comment: str | None = None
    decision_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One answer judged against another model's.

    Attributes:
        id: the row's own; ids sort by `at`.
        request_id: of the request that was answered by `model_a`.
        outcome: share of the win that goes to `model_a`: 1, 0.5 or 0.
        judge: who judged.
        cost_usd: of the other answer and of judging; None where not known.
        tokens_a, tokens_b: of either answer; None where not known.
        decision_id: of that request's row among the decisions; None where it is not known.
        answer_a, answer_b: texts of either answer; None by setting.
        signals_a, signals_b: what `core.answer_signals` reads of either answer; None where it was not read.
    """

    id: str
    request_id: str
    at: float
    model_a: str
    model_b: str
    outcome: float
    judge: str
    cost_usd: float | None = None
    tokens_a: int | None = None
    tokens_b: int | None = None
    decision_id: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None
    signals_a: Mapping[str, float] | None = None
    signals_b: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotRow:
    """One comparison that the autopilot drew; see `core.certificate`.

    Attributes:
        id: of its `ComparisonRow`; they sort by `at`.
        generation: whose certificate it is for.
        score: of the prompt, in [0, 1], by that generation.
        loss: strong's score less weak's, in [-1, 1], as judged; 0 where people judge.
        probability: with which such a prompt is drawn, in (0, 1].
        n_undrawn: requests of the process since the comparison before, under the same plan.
        plan: `reach`, `inside` and `outside` of the plan that it was drawn under.
        agreed: whether the judge said the same in both orders.
        cost_usd: of the other answer and of judging.
        embedding: of the prompt, little-endian float32, to train on; None where none was computed.
        counted: 1 once a certificate holds it.
        others: of each generation that runs beside: its number, its score of the prompt, and its plan's three numbers;
            of more than two candidates its `until`, too.
        win_rate, n_characters: of the prompt, to train on; None, 0 in rows of earlier versions.
        label_share: probability with which people are asked about it; 0 where nobody is.
        wants_label: 1 where they are asked; it is counted once they have answered.
        label: the loss as they see it, in [-1, 1]; None until they have.
        shown: what they are shown, as JSON types: question and both answers; None unless they are asked.
        until: of more than two candidates, the threshold up to which the compared one is chosen, from `score` on; both
            are 1 where this generation never does. None for a pair.
        candidate: of more than two, who is compared with the reference; None for a pair.
        win_rates: of more than two, the reference's over each, to train on; empty for a pair.
    """

    id: str
    at: float
    generation: int
    score: float
    loss: float
    probability: float
    n_undrawn: int
    plan: tuple[int, float, float]
    agreed: bool
    cost_usd: float
    embedding: bytes | None = None
    counted: int = 0
    others: tuple[tuple[Any, ...], ...] = ()
    win_rate: float | None = None
    n_characters: int = 0
    label_share: float = 0.0
    wants_label: int = 0
    label: float | None = None
    shown: Any = None
    until: float | None = None
    candidate: str | None = None
    win_rates: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """What one process has spent in one quarter of an hour, so far.

    Totals, not increments: a row written twice counts once, and the spend of all is the sum over processes.

    Attributes:
        writer: the process.
        at: beginning of the quarter of an hour, a multiple of 900 s: every time zone's days begin with one.
        key_id: "" where no keys are asked for.
        model: who answered.
    """

    writer: str
    at: float
    key_id: str
    model: str
    n_requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One fact that the processes share, e.g. the state of the policies.

    Attributes:
        value: as JSON types.
        version: 1 when it was first set; one more with each change.
        at: of the last change.
    """

    name: str
    value: Any
    version: int
    at: float


Row: TypeAlias = DecisionRow | FeedbackRow | ComparisonRow | AutopilotRow


def clean_text(text: str) -> str:
    """`text` without what a database does not take: NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def row_values(row: Any) -> dict[str, Any]:
    """A row's values by column."""
    return {field.name: getattr(row, field.name) for field in fields(row)}
