"""The dashboard in the configuration."""

from typing import Annotated

from pydantic import Field

from pointsman.serve.config.base import Name, Part

__all__ = ["DashboardConfig"]


class DashboardConfig(Part):
    """The page at `/`.

    Attributes:
        enabled: whether it is served.
        reports: files that `pointsman evaluate --json` wrote, by the names to show them under.
        hosts: host names, beside localhost and addresses, that browsers may reach it by where no keys are asked for.
        watchers: pages that may follow what happens live at the same time, in each process.
    """

    enabled: bool = True
    reports: dict[Name, str] = Field(default_factory=dict)
    hosts: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    watchers: Annotated[int, Field(ge=1, le=1000)] = 20
