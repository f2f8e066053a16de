"""The request context: filled in by the pipeline, used by HTTP and the Python API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pointsman.core.arrays import Float32Array
from pointsman.core.decision import Decision
from pointsman.core.expected_cost import LabelledBill
from pointsman.core.pair import ModelPair
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.policy.budget import Held, Reservation
from pointsman.serve.policy.ruled import Ruled
from pointsman.serve.protocols.model_field import ModelField
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.surfaces import CHAT, Surface
from pointsman.serve.request.cascade_run import CascadeRun
from pointsman.serve.request.matched_rule import MatchedRule
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["RequestContext"]


@dataclass(slots=True)
class RequestContext:
    """One request on its way through the pipeline of `engine/pipeline.py`, whose steps fill this in.

    Attributes:
        request: as it came.
        headers: the client's headers that are passed on.
        surface: the API that it was sent to.
        key: whose request it is; None where no keys are configured.
        parsed: what its `model` field means.
        win_rate: strong model's win rate in [0, 1], of more candidates the reference's mean one; None where no router
            was asked or it failed.
        score: what the threshold is compared with instead, where the autopilot has learned better; else None.
        certified: gives what the threshold is compared with, from the score of the weak answer, where the autopilot
            certifies a cascade; else None.
        planned: who answers at the threshold, where the autopilot certifies a choice among more than two; else None.
        win_rates: of the reference over each candidate, in their configured order; None for a router of one pair.
        bills: what labelled prompts like it cost at each; None where the router does not know.
        embedding: the prompt's, shape (dim,); None where no embedding was computed.
        checkpoint: name of the router's checkpoint; None where no router was asked or it has none.
        threshold: strong iff win_rate >= threshold; None where no router was asked.
        policy: rule that set the threshold; None where none applied.
        reason: why the decision is as it is; "" until a step knows.
        decision: the outcome.
        pair: the strong and the weak model, of more candidates the reference and the cheapest; None before the
            pipeline has begun.
        candidates: the models that may answer, the reference first.
        address: the client's; "" where it is not known.
        client: the client's headers that identify its conversation.
        session: identifies its conversation; None before anyone asked (`conversations.py`).
        sticky: the model that the conversation stays with; None where the threshold decides.
        sticky_reason: why, where the threshold would decide otherwise.
        is_bound: whether only one model can go on with what the request refers to.
        point: threshold up to which it goes to the reference: the win rate, of more candidates a turning point.
        current: the model that the conversation is with, whose prompt cache holds it; None where that is not known.
        dry_run: whether only the decision is asked for, so that nothing is counted.
        ruled: what the policies say, and what counts where the request goes.
        reservations: what it is expected to cost its budgets, until it has ended.
        held: what it has set aside of hard budgets, until it has ended.
        rule: the configured rule that it meets; None if it meets none.
        rule_headers: its headers that rules ask for, by their names in lower case.
        cascade: what is planned of a cascade, and what came of it; None where no answer is read.
        no_cascade: why none is planned, where cascades are configured; "" otherwise.
        attempts: the calls to upstreams, in order, those that an open circuit skipped included.
    """

    request: ChatRequest
    headers: Mapping[str, str] = field(default_factory=dict)
    surface: Surface = CHAT
    key: AccessKey | None = None
    parsed: ModelField | None = None
    win_rate: float | None = None
    score: float | None = None
    certified: Callable[[float], float] | None = None
    planned: str | None = None
    win_rates: tuple[float, ...] | None = None
    bills: tuple[LabelledBill, ...] | None = None
    embedding: Float32Array | None = None
    checkpoint: str | None = None
    threshold: float | None = None
    policy: str | None = None
    reason: str = ""
    decision: Decision | None = None
    pair: ModelPair | None = None
    candidates: tuple[str, ...] = ()
    address: str = ""
    client: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None
    sticky: str | None = None
    sticky_reason: str = "session"
    is_bound: bool = False
    point: float | None = None
    current: str | None = None
    dry_run: bool = False
    ruled: Ruled | None = None
    reservations: tuple[Reservation, ...] = ()
    held: tuple[Held, ...] = ()
    rule: MatchedRule | None = None
    rule_headers: Mapping[str, str] = field(default_factory=dict)
    cascade: CascadeRun | None = None
    no_cascade: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    def is_strong(self, model: str | None) -> bool:
        """Whether `model` is the strong one of the pair between which this request was routed, or the reference."""
        return self.pair is not None and model == self.pair.strong

    @property
    def decided_rate(self) -> float | None:
        """What the threshold is compared with."""
        return self.win_rate if self.score is None else self.score

    def share_of(self, model: str | None) -> float:
        """How far towards the reference's bill `model` goes: 1 the reference, 0 the cheapest or an unknown one."""
        if self.is_strong(model):
            return 1.0
        weighed = self.decision.weighed if self.decision is not None else ()
        return next((min(each.relative_bill, 1.0) for each in weighed if each.candidate.name == model), 0.0)
