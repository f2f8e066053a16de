"""Watching for drift in the configuration."""

from typing import Annotated, Literal

from pydantic import Field

from pointsman.serve.config.base import Part

__all__ = ["DriftConfig"]


class DriftConfig(Part):
    """Alarms when live prompts no longer resemble those that the routers were calibrated on.

    Attributes:
        reference: what live prompts are compared with: the checkpoint's calibration, or the traffic itself: the first
            `warm_up` prompts after a start or a reset.
        warm_up: number of prompts at the start that serve as the reference and are not tested.
        false_alarm_rate: highest probability of a false alarm per 10,000 prompts of a router.
        on_alarm: only warn, or also send all routed prompts to the strong model until somebody resets the alarm.
    """

    reference: Literal["calibration", "traffic"] = "calibration"
    warm_up: Annotated[int, Field(ge=50)] = 1000
    false_alarm_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    on_alarm: Literal["warn", "strong"] = "warn"
