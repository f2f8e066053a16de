"""The table of decisions: from the store, or the latest ones of this process without a store."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pointsman.serve.http.errors import RequestError
from pointsman.serve.observers.live import LiveHub
from pointsman.serve.observers.live_row import PROMPT_CHARACTERS, LiveRow
from pointsman.serve.protocols.write_json import write_json

if TYPE_CHECKING:
    from pointsman.serve.store.rows import DecisionRow
    from pointsman.serve.store.store import Store

__all__ = ["Decisions"]

_PAGE = 50
_FILTERS = ("model", "outcome", "policy", "router", "key_id", "rule")
_HIDDEN = ("embedding", "prompt_hash")


class Decisions:
    """Pages of decisions, the newest first."""

    def __init__(self, hub: LiveHub, store: "Store | None") -> None:
        self._hub = hub
        self._store = store

    async def read(self, query: dict[str, str]) -> bytes:
        """One page as JSON: `decisions`, and the cursor of the `next` page, null at the end.

        Args:
            query: `before` (a cursor), `text`, and any of model, outcome, policy, router, key_id and rule to match.

        Raises:
            RequestError: 400, a parameter is unknown.
        """
        known = (*_FILTERS, "text", "before")
        if unknown := [name for name in query if name not in known]:
            raise RequestError(
                f"unknown parameter {unknown[0]!r}; the parameters are {', '.join(known)}", param=unknown[0]
            )
        chosen: dict[str, Any] = {name: query[name] for name in (*_FILTERS, "text") if query.get(name)}
        if self._store is not None:
            from pointsman.serve.store.queries import DecisionFilter

            rows = await self._store.decisions(
                replace(DecisionFilter(), **chosen), limit=_PAGE + 1, before=query.get("before") or None
            )
            found = [_view(row) for row in rows]
        else:
            found = _since([seen for seen in self._hub.recent() if _fits(seen, chosen)], query.get("before"))
        following = found[_PAGE - 1]["id"] if len(found) > _PAGE else None
        page = {"decisions": found[:_PAGE], "next": following, "kept": self._store is not None}
        return write_json(page)


def _view(row: "DecisionRow") -> LiveRow:
    view: dict[str, Any] = {name: value for name, value in asdict(row).items() if name not in _HIDDEN}
    if row.prompt is not None:
        view["prompt"] = row.prompt[:PROMPT_CHARACTERS]
    return view


def _fits(seen: LiveRow, chosen: dict[str, str]) -> bool:
    text = chosen.get("text", "").lower()
    if text and text not in (seen["prompt"] or "").lower() and text not in seen["request_id"].lower():
        return False
    return all(seen[name] == value for name, value in chosen.items() if name != "text")


def _since(rows: list[LiveRow], before: str | None) -> list[LiveRow]:
    """The rows after the one whose id is `before`; all where it is None or gone."""
    for k, row in enumerate(rows):
        if row["id"] == before:
            return rows[k + 1 :]
    return rows
