"""The result of the rules for one request."""

from pointsman.core.policy import Ruling
from pointsman.core.quick_dataclass import quick_dataclass
from pointsman.core.share_control import ShareControl
from pointsman.serve.policy.budget import Budget
from pointsman.serve.policy.live_share import LiveShare

__all__ = ["Ruled"]


@quick_dataclass(frozen=True, slots=True)
class Ruled:
    """The result of the rules for one request.

    Attributes:
        ruling: the threshold and the rule that set it.
        shares: what counts where the request goes.
        budgets: what it is spent from.
        is_bound: whether the bounds of the policies hold for it, and not the request's own threshold alone.
        exhausted: whether a hard budget is exhausted, so that the strong model must not answer.
    """

    ruling: Ruling
    shares: tuple[ShareControl | LiveShare, ...] = ()
    budgets: tuple[Budget, ...] = ()
    exhausted: bool = False
    is_bound: bool = False
