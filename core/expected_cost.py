"""The expected cost of a prompt at a model, before calling it.

    bill = (i - h) input + h cached + a output, per million, + per_request

with i input tokens of this request, h of them held by the model's prompt cache, and a answer tokens with their
reasoning: of the most similar labelled prompts where the router knows them, else the model's own mean in live traffic,
else the configured guess. Models of equal list price differ tenfold in a.
"""

from dataclasses import dataclass

from pointsman.core.prices import Price

__all__ = ["AnswerTokens", "LabelledBill", "expected_usd"]

_HALF_LIFE = 500.0  # answers after which one counts half


@dataclass(frozen=True, slots=True)
class LabelledBill:
    """What labelled prompts like this one cost at a model.

    Attributes:
        usd: mean bill at the prices of the labels; None where they hold none.
        output_tokens: mean length of the answers; None likewise.
    """

    usd: float | None = None
    output_tokens: float | None = None


def expected_usd(
    price: Price | None,
    *,
    input_tokens: float,
    cached_tokens: float = 0.0,
    output_tokens: float,
    labelled: LabelledBill | None = None,
) -> float | None:
    """Expected bill in dollars; None where neither a price nor a labelled bill is known.

    Args:
        input_tokens: of the whole request.
        cached_tokens: those of them that the model's prompt cache holds.
        output_tokens: expected ones, from `AnswerTokens`, where the labels do not say.
        labelled: of the most similar labelled prompts; their bill counts where there is no price.
    """
    if price is None:
        return None if labelled is None else labelled.usd
    if labelled is not None and labelled.output_tokens is not None:
        output_tokens = labelled.output_tokens
    millionths = input_tokens * price.input_usd + output_tokens * price.output_usd
    if cached_tokens and price.cached_input_usd is not None:
        millionths -= min(cached_tokens, input_tokens) * (price.input_usd - price.cached_input_usd)
    return millionths / 1e6 + price.per_request_usd


class AnswerTokens:
    """Running means of how long models' answers are; each begins at a guess that counts as some answers.

    A mean forgets: of two answers that lie 500 apart the earlier one counts half.
    """

    def __init__(self, *, guess: float, guess_counts: float = 20.0) -> None:
        """Knows nothing but the guess.

        Raises:
            ValueError: the guess is negative or its weight not positive.
        """
        if not guess >= 0.0 or not guess_counts > 0.0:
            raise ValueError(f"guess is {guess} and counts {guess_counts}, wanted at least 0 and more than 0")
        self._guess, self._guess_counts = guess, guess_counts
        self._sums: dict[str, tuple[float, float]] = {}

    def learn(self, model: str, tokens: float) -> None:
        """One answer of a model, in tokens, reasoning included."""
        total, count = self._sums.get(model, (0.0, 0.0))
        kept = 0.5 ** (1.0 / _HALF_LIFE)
        self._sums[model] = (total * kept + tokens, count * kept + 1.0)

    def seen(self, model: str) -> tuple[float, float]:
        """Mean tokens of its answers alone, without the guess, and how many they count as; 0 and 0 before the first."""
        total, count = self._sums.get(model, (0.0, 0.0))
        return (total / count if count else 0.0), count

    def mean(self, model: str) -> float:
        """Expected tokens of its next answer."""
        total, count = self._sums.get(model, (0.0, 0.0))
        return (total + self._guess * self._guess_counts) / (count + self._guess_counts)
