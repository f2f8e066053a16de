"""The base of every part of the configuration."""

import inspect
import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

__all__ = ["KeyReference", "Name", "Part", "Seconds", "Share"]

KeyReference = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$", description="env:NAME of a variable")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
_ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)


class Part(BaseModel):
    """One part of the configuration: frozen, strict, without unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,  # the whole configuration builds its parts' checks with its own, once instead of twice
    )

    @classmethod
    def defaults(cls) -> Self:
        """This part with nothing configured, made without validation, which is slow."""
        return cls.model_construct()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema, with descriptions from the docstring."""
        made = handler(schema)
        described = handler.resolve_ref_schema(made)
        summary, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
        described["description"] = " ".join(summary.split())
        for names, note in _ATTRIBUTE.findall(attributes):
            for name in names.split(", "):
                described["properties"][name]["description"] = " ".join(note.split())
        return made
