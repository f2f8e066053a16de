"""Aurelio's semantic-router on embeddings made elsewhere: `python semantic_router_routes.py IN.json`, in its own venv.

IN.json holds `routes` (name to texts), `texts` to route, and `vectors` by text. Prints JSON: for each way to aggregate
the similarities of a route's utterances, the most similar route of each text with its confidence, and the microseconds
of a decision.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from semantic_router import Route
from semantic_router.encoders import DenseEncoder
from semantic_router.routers import IndexedRouter


class Recorded(DenseEncoder):
    """Looks embeddings up."""

    name: str = "recorded"
    type: str = "recorded"
    vectors: ClassVar[dict[str, list[float]]] = {}

    def __call__(self, docs: list[Any]) -> list[list[float]]:
        return [self.vectors[doc] for doc in docs]


def main() -> int:
    """Routes the texts."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Recorded.vectors = given["vectors"]
    routes = [Route(name=name, utterances=texts) for name, texts in given["routes"].items()]
    found: dict[str, Any] = {}
    for aggregation in ("mean", "sum", "max"):
        router = IndexedRouter(Recorded(name="recorded"), routes, aggregation=aggregation)
        before = time.perf_counter()
        chosen = [router(text) for text in given["texts"]]
        us = 1e6 * (time.perf_counter() - before) / len(chosen)
        found[aggregation] = {"chosen": [[each.name, each.confidence] for each in chosen], "us": us}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
