"""Which answers of a deployment are given again."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.errors import Violation

MAX_TTL = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Answers are given again to equal questions for `ttl`."""

    ttl: timedelta

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        if timedelta() < self.ttl <= MAX_TTL:
            return []
        text = f"is {self.ttl.total_seconds():g} s; use more than 0 and at most {MAX_TTL.days} days"
        return [Violation(f"{path}.ttl", text)]
