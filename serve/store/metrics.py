"""Prometheus metrics of the store."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["StoreMetrics"]


class StoreMetrics:
    """Rows written, queued and lost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Starts at zero."""
        self._written = Counter("pointsman_store_rows_written", "Rows written to the store.", registry=registry)
        self._lost = Counter(
            "pointsman_store_rows_lost", "Rows lost, by reason: the queue was full, the database refused them, or the "
            "server stopped while it was down.", ["reason"], registry=registry,
        )  # fmt: skip
        for reason in ("full", "refused", "stopped"):
            self._lost.labels(reason)
        self._queued = Gauge(
            "pointsman_store_rows_queued", "Rows waiting to be written.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._up = Gauge(
            "pointsman_store_up", "1 while the database accepts writes.", registry=registry,
            multiprocess_mode="livemin",
        )  # fmt: skip
        self._up.set(1)
        self._deleted = Counter(
            "pointsman_store_rows_deleted", "Rows deleted after the retention period.", registry=registry
        )

    def written(self, n_rows: int) -> None:
        """Rows were written."""
        self._written.inc(n_rows)

    def lost(self, n_rows: int, reason: str) -> None:
        """Rows were lost: "full", "refused" or "stopped"."""
        self._lost.labels(reason).inc(n_rows)

    def deleted(self, n_rows: int) -> None:
        """Rows were deleted."""
        self._deleted.inc(n_rows)

    def queued(self, n_rows: int) -> None:
        """Sets the number of waiting rows."""
        self._queued.set(n_rows)

    def up(self, works: bool) -> None:
        """Sets whether the store accepts writes."""
        self._up.set(1 if works else 0)
