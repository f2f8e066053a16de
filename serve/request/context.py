"""One request on its way down the line: what is known of it so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.core.arrays import Float32Array
from pointsman.core.decision import Decision
from pointsman.serve.auth.keys import AccessKey
from pointsman.serve.policy.ruled import Ruled
from pointsman.serve.protocols.model_field import ModelField
from pointsman.serve.protocols.requests import ChatRequest
from pointsman.serve.protocols.surfaces import CHAT, Surface
from pointsman.serve.upstreams.tries import Try

__all__ = ["Exchange"]


@dataclass(slots=True)
class Exchange:
    """Filled in by the steps of `line.py`, in their order.

    Attributes:
        request: as it came.
        headers: the client's headers that are passed on.
        surface: which kind of request it is.
        key: whose request it is; None where no keys are asked for.
        wanted: what its `model` means.
        win_rate: strong model's win rate in [0, 1]; None where no router was asked or it failed.
        embedding: the prompt's, shape (dim,); None where no embedding was computed.
        checkpoint: name of the router's checkpoint; None where no router was asked or it has none.
        threshold: strong iff win_rate >= threshold; None where no router was asked.
        policy: rule that set the threshold; None where none applied.
        reason: why the decision is as it is; "" until a step knows.
        decision: the outcome.
        pair: names of the strong and the weak model; None before the line has begun.
        candidates: those of the pair that may answer.
        session_header: the conversation that the client names; None where it names none.
        session: what tells its conversation from others; None where conversations are not kept together.
        stays: the model that the conversation stays with; None where the threshold decides.
        dry: whether only the decision is asked for, so that nothing is to be counted.
        ruled: what the rules say, and what counts where the request goes.
        tries: the models that were asked, in order.
    """

    request: ChatRequest
    headers: Mapping[str, str] = field(default_factory=dict)
    surface: Surface = CHAT
    key: AccessKey | None = None
    wanted: ModelField | None = None
    win_rate: float | None = None
    embedding: Float32Array | None = None
    checkpoint: str | None = None
    threshold: float | None = None
    policy: str | None = None
    reason: str = ""
    decision: Decision | None = None
    pair: tuple[str, str] | None = None
    candidates: tuple[str, ...] = ()
    session_header: str | None = None
    session: str | None = None
    stays: str | None = None
    dry: bool = False
    ruled: Ruled | None = None
    tries: list[Try] = field(default_factory=list)
