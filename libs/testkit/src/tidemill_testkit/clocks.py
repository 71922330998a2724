"""Time as a test needs it."""

from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FixedClock:
    """Stands still until it is moved."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def now(self) -> datetime:
        """Return the time that it shows."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move on."""
        self.at += by
