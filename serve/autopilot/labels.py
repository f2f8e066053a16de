"""Labels of people: which of two answers is better, without being told whose they are.

Those who are asked are shown the answers in an order that is drawn by the comparison's id. Comparisons that are not
drawn for labelling take none, so nobody can choose what counts.
"""

import hashlib
from typing import Any

from pointsman.serve.store.rows import AutopilotRow
from pointsman.serve.store.store import Store

__all__ = ["BETTER", "label_of_request", "loss_of", "question_of"]

BETTER = ("a", "b", "tie")


def question_of(row: AutopilotRow) -> dict[str, Any]:
    """What people are asked about a comparison, as JSON types."""
    shown = row.shown
    texts = [shown["strong"], shown["weak"]]
    first, second = texts if _strong_first(row.id) else reversed(texts)
    return {"id": row.id, "request_id": shown["request_id"], "question": shown["question"], "a": first, "b": second}


def loss_of(comparison: str, better: str) -> float:
    """Strong's score less weak's, from which of the two is better: "a", "b" or "tie"."""
    if better == "tie":
        return 0.0
    return 1.0 if (better == "a") == _strong_first(comparison) else -1.0


async def label_of_request(store: Store, request_id: str, preference: float) -> bool:
    """Takes feedback on a request for the label of its comparison, where people are asked about it.

    Args:
        preference: 1 for the strong model's answer, 0 for the weak one's, 0.5 for a tie.

    Returns:
        Whether they were asked, and had not answered.
    """
    asked = [row for row in await store.waiting_labels() if row.shown["request_id"] == request_id]
    return bool(asked) and await store.label(asked[0].id, 2.0 * preference - 1.0)


def _strong_first(comparison: str) -> bool:
    return hashlib.sha256(comparison.encode()).digest()[0] % 2 == 0
