"""The dashboard in the configuration."""

from typing import Annotated

from pydantic import Field

from pointsman.serve.config.base import Name, Part

__all__ = ["DashboardConfig"]


class DashboardConfig(Part):
    """The page at `/`.

    Attributes:
        enabled: whether it is served.
        reports: files written by `pointsman evaluate --json`, by the names to show.
        hosts: further host names, beside localhost and addresses, at which browsers may open it without access keys.
        watchers: most pages that may follow live traffic at once, per process.
    """

    enabled: bool = True
    reports: dict[Name, str] = Field(default_factory=dict)
    hosts: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    watchers: Annotated[int, Field(ge=1, le=1000)] = 20
