"""One attempt of a request: its result and its charge."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pointsman.serve.protocols.long_documents import walks_answer
from pointsman.serve.protocols.token_count import TextSample, count_input_tokens
from pointsman.serve.protocols.usage import Usage, read_usage

if TYPE_CHECKING:
    from pointsman.serve.protocols.openai_streams import EventStream
    from pointsman.serve.upstreams.base import Reply

__all__ = ["Attempt"]

_SAID = ("content", "text", "arguments", "reasoning_content", "refusal", "thinking")


@dataclass(slots=True)
class Attempt:
    """One call to one model.

    Attributes:
        model: its name here.
        result: the status of its answer, the code of its failure, or "skipped" where its circuit was open; "" until
            that is known.
        reply: what it answered; None where it did not, or not yet.
        stream: what is known of its event stream; None where there is none.
        abandoned: the client left before it answered.
    """

    model: str
    result: str = ""
    reply: "Reply | None" = None
    stream: "EventStream | None" = None
    abandoned: bool = False

    def __str__(self) -> str:
        return f"{self.model} {self.result}"

    def usage(self, request: Mapping[str, Any]) -> Usage | None:
        """Tokens that the upstream charges for; None if none.

        They are what it reports, whatever became of the answer. Where it reports nothing they are estimated: of an
        answer from its text, of a stream that ended early from what came of it, of an answer that was not waited for
        from the prompt alone. A failed attempt without reported usage was not charged.

        Args:
            request: the document that was sent.
        """
        if self.stream is not None:
            source = self.reply.source if self.reply is not None else None
            stream = self.stream if source is None or isinstance(source, Mapping) else source
            if stream.usage is not None:
                return stream.usage
            if stream.prompt is not None:
                return replace(stream.prompt, output_tokens=stream.n_tokens(), estimated=True)
            return _estimate(request, stream.n_tokens()) if stream.begun else None
        if self.reply is None:
            return _estimate(request, 0) if self.abandoned else None
        document = self.document()
        if (reported := read_usage(document.get("usage"))) is not None:
            return reported
        return _estimate(request, _answer_text(document).n_tokens()) if self.reply.status < 400 else None

    def document(self) -> Mapping[str, Any]:
        """A whole answer, parsed; empty where there is none."""
        return {} if self.reply is None or self.reply.chunks is not None else self.reply.parsed()


def _estimate(request: Mapping[str, Any], output_tokens: int) -> Usage:
    return Usage(count_input_tokens(request), output_tokens, estimated=True)


@walks_answer
def _answer_text(document: Mapping[str, Any]) -> TextSample:
    """What a whole answer of any surface says: the texts in its choices, output or content."""
    found = TextSample()
    waiting: list[Any] = [document.get("content"), document.get("output"), document.get("choices")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, dict):
            for key, value in part.items():
                if isinstance(value, (dict, list)):
                    waiting.append(value)
                elif key in _SAID:
                    found.add(value)
    return found
