"""Two models of planted quality and a judge that knows the answer key, as one ASGI application with its own ledger."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["PlantedModels", "score_answer"]

RIGHT, WRONG = "the right answer", "a wrong answer"


@dataclass
class PlantedModels:
    """Model `big` is always right; `small` is wrong on a share of the prompts that grows with their length.

    Model `middle` is always right, too.

    Attributes:
        hard: of the longest prompts, share on which `small` is wrong; none of the shortest.
        longest: characters of the longest prompt.
        calls: by model.
        judged: requests whose answers were judged, by their prompt.
        rubbish: the judge gives no verdict.
        failing: models that answer 500.
        tells_doubt: `small` gives log-probabilities where they are asked for, lower where it is wrong more often.
        asked: documents of the answers that were asked for, the judge's left out, in order.
    """

    hard: float = 0.5
    longest: int = 400
    calls: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    rubbish: bool = False
    failing: set[str] = field(default_factory=set)
    tells_doubt: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    def is_wrong(self, prompt: str) -> bool:
        """Whether `small` is wrong on a prompt."""
        return self.luck(prompt) < self.hard * len(prompt) / self.longest

    def luck(self, prompt: str) -> float:
        """Uniform in [0, 1), by the prompt: `small` is wrong where it is low, and less sure."""
        return int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16) / 2**32

    async def _chat(self, request: Request) -> JSONResponse:
        document: dict[str, Any] = await request.json()
        model, text = document["model"], document["messages"][-1]["content"]
        self.calls[model] += 1
        if model in self.failing:
            return JSONResponse({"error": {"message": "down"}}, 500)
        said = self._judge(text) if model == "judge" else self._answer(model, text)
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        choice: dict[str, Any] = {
            "index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"
        }  # fmt: skip
        if model != "judge":
            self.asked.append(document)
        if self.tells_doubt and model == "small" and document.get("logprobs"):
            told = {"token": said, "logprob": math.log(max(self.luck(text), 1e-9)), "top_logprobs": []}
            choice["logprobs"] = {"content": [told]}
        return JSONResponse(
            {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
        )

    def _answer(self, model: str, prompt: str) -> str:
        return f"{WRONG if model == 'small' and self.is_wrong(prompt) else RIGHT} of {model}"

    def _judge(self, text: str) -> str:
        self.judged[text.partition("<request>\n")[2].partition("\n</request>")[0]] += 1
        if self.rubbish:
            return "I cannot say."
        first, second = text.split("<answer_b>")
        return "[[C]]" if (RIGHT in first) == (RIGHT in second) else "[[A]]" if RIGHT in first else "[[B]]"


def score_answer(prompt: str, answer: str, request: dict[str, Any]) -> float:
    """A scorer that knows the answer key."""
    assert prompt == request["messages"][-1]["content"]
    return float(RIGHT in answer)
