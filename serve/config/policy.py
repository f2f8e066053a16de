"""The rules that set the threshold, in the configuration."""

import zoneinfo
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from pointsman.core.schedule import WEEKDAYS, WeeklySpan, parse_time
from pointsman.serve.config.base import Name, Part, Share

__all__ = [
    "BudgetConfig",
    "PolicyConfig",
    "ScheduleConfig",
    "SettingConfig",
    "ShareBounds",
    "ThresholdBounds",
    "TierConfig",
]

_RULES = ("threshold", "strong_share", "max_loss", "max_cost_usd")


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is not a known time zone, wanted a name such as Europe/Berlin "
            "(where the system has no zones: pip install tzdata)"
        ) from None
    return name


def _time(value: Any) -> Any:
    """Undoes YAML's reading of an unquoted 17:30 as 17 * 60 + 30."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 24 * 60:
        return f"{value // 60:02d}:{value % 60:02d}"
    return value


def _checked_time(text: str) -> str:
    parse_time(text)
    return text


def _days(value: Any) -> Any:
    """Names of days, with ranges such as mon-fri written out."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)):
        return value
    found: list[Any] = []
    for entry in entries:
        first, dash, last = entry.partition("-") if isinstance(entry, str) else (entry, "", "")
        if dash and first in WEEKDAYS and last in WEEKDAYS:
            begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last)
            found += [WEEKDAYS[(begin + i) % 7] for i in range((end - begin) % 7 + 1)]
        else:
            found.append(entry)
    return tuple(found)


Zone = Annotated[str, AfterValidator(_zone), Field(description="IANA time zone, e.g. Europe/Berlin")]
TimeOfDay = Annotated[str, BeforeValidator(_time), AfterValidator(_checked_time), Field(description="HH:MM")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_EVERY_DAY: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Usd = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class SettingConfig(Part):
    """One way to set the threshold: at most one of the four.

    Attributes:
        threshold: strong iff win_rate >= threshold.
        strong_share: the share of prompts for the strong model, held while traffic changes.
        max_loss: the threshold that `pointsman calibrate --max-loss` stored in the checkpoint for this loss.
        max_cost_usd: likewise of `--max-cost-usd`.
    """

    threshold: Share | None = None
    strong_share: Share | None = None
    max_loss: Annotated[float, Field(ge=0.0)] | None = None
    max_cost_usd: Usd | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in _RULES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given together, wanted one of them")
        return self

    @property
    def is_set(self) -> bool:
        """Whether any of the four is given."""
        return any(getattr(self, name) is not None for name in _RULES)


class _Required(SettingConfig):
    """A setting that must be given."""

    @model_validator(mode="after")
    def _check_given(self) -> Self:
        if not self.is_set:
            raise ValueError(f"sets no threshold, wanted one of {', '.join(_RULES)}")
        return self


class ScheduleConfig(_Required):
    """A setting for some hours of the week; the first entry that matches the time applies.

    Attributes:
        name: shown in decisions.
        days: days on which it begins, e.g. [mon-fri]; every day by default.
        from, to: times of day, 24:00 for the end of the day; a `to` that is not after `from` is the next day's.
        timezone: time zone of these hours; the policy's if None.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    name: Name
    days: Annotated[tuple[Weekday, ...], BeforeValidator(_days), Field(min_length=1, strict=False)] = _EVERY_DAY
    begin: TimeOfDay = Field("00:00", alias="from")
    end: TimeOfDay = Field("24:00", alias="to")
    timezone: Zone | None = None

    @model_validator(mode="after")
    def _check_span(self) -> Self:
        self.span()
        return self

    def span(self) -> WeeklySpan:
        """Its hours."""
        return WeeklySpan.of(self.days, self.begin, self.end)


class TierConfig(_Required):
    """A setting for the keys of one tier."""


class BudgetConfig(Part):
    """A ceiling in dollars, held by raising the threshold as the budget runs short.

    Attributes:
        usd: the ceiling.
        per: hour, day or month of the policy's time zone.
        name: shown in decisions; the period's if None.
        key: whose spending counts: of all keys together if None, of one key by its id, or of "each" key separately.
        hard: once exhausted, nothing goes to the strong model until the budget resets. The maximum cost of a request
            is reserved before it starts.
        without_store: for a hard budget, while the store is unreachable and the lease of this process is used up:
            closed uses only the weak model, open continues.
    """

    usd: Usd
    per: Literal["hour", "day", "month"] = "day"
    name: Name | None = None
    key: Name | None = None
    hard: bool = False
    without_store: Literal["closed", "open"] = "closed"

    @property
    def label(self) -> str:
        """Its name in decisions."""
        return self.name or self.per


class ThresholdBounds(Part):
    """Bounds of the threshold, for all rules except an exhausted hard budget.

    Attributes:
        floor: lowest threshold.
        ceiling: highest threshold; none if None.
    """

    floor: Share = 0.0
    ceiling: Share | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor:g} is above ceiling {self.ceiling:g}")
        return self


class ShareBounds(Part):
    """Bounds of the share of strong calls, for all rules except threshold bounds and an exhausted hard budget.

    Attributes:
        floor: lowest share; none if None.
        ceiling: highest share; none if None.
    """

    floor: Share | None = None
    ceiling: Share | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor:g} is above ceiling {self.ceiling:g}")
        return self


class PolicyConfig(SettingConfig):
    """What sets the threshold of requests that name none.

    The key's tier comes first, then the schedule, then the setting given here, then the router's own. Budgets raise
    the resulting threshold, and bounds limit it.

    Attributes:
        timezone: time zone of schedule and budgets.
        schedule: settings by the hour.
        tiers: settings by the tier of the request's key.
        budgets: ceilings in dollars.
        requests_per_hour: expected requests in each of the 24 hours, used to pace budgets until traffic is learned.
        share_bounds: bounds of the share of strong calls.
        threshold_bounds: of the threshold.
        bind_requests: apply budgets and bounds to requests that name a threshold too.
    """

    timezone: Zone = "UTC"
    schedule: Annotated[tuple[ScheduleConfig, ...], Field(strict=False)] = ()
    tiers: dict[Name, TierConfig] = Field(default_factory=dict)
    budgets: Annotated[tuple[BudgetConfig, ...], Field(strict=False)] = ()
    requests_per_hour: (
        Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=24, max_length=24, strict=False)] | None
    ) = None
    share_bounds: ShareBounds = ShareBounds.defaults()
    threshold_bounds: ThresholdBounds = ThresholdBounds.defaults()
    bind_requests: bool = False

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        for what, names in (
            ("schedule", [entry.name for entry in self.schedule]),
            ("budgets", [f"{budget.label} {budget.key or ''}" for budget in self.budgets]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: the name {twice.strip()!r} is given twice")
        return self
