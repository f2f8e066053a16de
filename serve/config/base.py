"""What every part of the configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KeyReference", "Name", "Part", "Seconds", "Share", "Url"]

KeyReference = Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$", description="env:NAME of a variable")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", description="http(s) URL up to and with /v1")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]


class Part(BaseModel):
    """One part of the configuration: frozen, strict, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
