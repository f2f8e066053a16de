"""What is known of a service of OpenAI's chat API: where it differs from the others."""

from dataclasses import dataclass

__all__ = ["ChatService"]


@dataclass(frozen=True, slots=True)
class ChatService:
    """One service.

    Attributes:
        max_tokens: what it calls the limit of an answer.
        most_stops: stop sequences that it takes.
        takes_top_k: whether it may know `top_k`, which is not OpenAI's.
        keeps_reasoning: whether it wants `reasoning_content` of its own answers back within a loop of tools.
    """

    max_tokens: str = "max_tokens"
    most_stops: int | None = None
    takes_top_k: bool = True
    keeps_reasoning: bool = False
