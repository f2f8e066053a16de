"""The error tree: everything that can go wrong outside a caller's own arguments.

Bad arguments are `ValueError`s. Bad files, missing parts, failed services and failed fits derive from `PointsmanError`,
whose message names the thing, its value, what was wanted and the way out.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EmbedderMismatchError",
    "FitError",
    "MissingExtraError",
    "PointsmanError",
    "StoreError",
    "UnknownRouterError",
    "UpstreamError",
]


class PointsmanError(Exception):
    """Base of all errors that Pointsman raises on purpose."""


class CheckpointError(PointsmanError):
    """A checkpoint is missing, damaged, foreign or does not fit its use."""


class EmbedderMismatchError(CheckpointError):
    """A checkpoint was trained on other embeddings than the ones it is about to be served with."""


class ConfigError(PointsmanError):
    """A configuration value is unknown, malformed or points at nothing."""


class DataError(PointsmanError):
    """Input data is malformed; the message carries row numbers."""


class FitError(PointsmanError):
    """A fit has no answer or did not converge."""


class StoreError(PointsmanError):
    """The database cannot be reached, refuses, or was made by a later version."""


class UnknownRouterError(PointsmanError):
    """No router of that kind is known; the message lists the known ones."""


class UpstreamError(PointsmanError):
    """A model's service failed, or gave an invalid answer."""


class MissingExtraError(PointsmanError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; it comes with: pip install "pointsman[{extra}]"')
