"""How each request parameter is translated: passed, converted, dropped or rejected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pointsman.serve.protocols.translation.read import Document, Untranslatable, shown

__all__ = ["Parameter", "Table", "select", "table"]

Fate: TypeAlias = Literal["passed", "translated", "dropped", "refused"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        name: at the top level of the request.
        fate: passed unchanged; translated; dropped, since it is only a hint; or refused.
        note: what it becomes, or why it is dropped or refused.
        idle: values without effect: with one of them it is dropped, whatever its fate.
    """

    name: str
    fate: Fate
    note: str = ""
    idle: tuple[Any, ...] = ()

    def is_idle(self, value: Any) -> bool:
        """Whether a value has no effect."""
        return any(value == idle and isinstance(value, bool) == isinstance(idle, bool) for idle in self.idle)


Table: TypeAlias = Mapping[str, Parameter]


def table(*parameters: Parameter) -> Table:
    """The parameters by name."""
    return {parameter.name: parameter for parameter in parameters}


def select(document: Document, known: Table, *, service: str) -> dict[str, Any]:
    """The parameters of a request that are passed or translated, without nulls and idle values.

    Args:
        service: what the model's service speaks, for messages, e.g. "Anthropic's Messages API".

    Raises:
        Untranslatable: a parameter is unknown, or cannot be expressed there.
    """
    chosen = {}
    for name, value in document.items():
        parameter = known.get(name)
        if value is None or (parameter is not None and parameter.is_idle(value)):
            continue
        if parameter is None or parameter.fate == "refused":
            why = "is not known" if parameter is None else parameter.note
            message = f"{name} is {shown(value)}: {service}, which this model's service uses, does not support that"
            raise Untranslatable(f"{message} ({why}); leave it out, or ask another model", param=name)
        if parameter.fate != "dropped":
            chosen[name] = value
    return chosen
