"""Which answers of a deployment are given again."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.errors import Violation

MAX_TTL = timedelta(days=30)
DEFAULT_THRESHOLD, MIN_THRESHOLD = 0.99, 0.7
MAX_MODEL_NAME = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticCachePolicy:
    """Similar questions get the same answer: `threshold` is the lowest cosine similarity by the model `embedding`."""

    embedding: str
    threshold: float = DEFAULT_THRESHOLD

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        found = []
        if not 0 < len(self.embedding) <= MAX_MODEL_NAME:
            text = f"has {len(self.embedding)} characters; name an embedding model of the registry"
            found.append(Violation(f"{path}.embedding", text))
        if not MIN_THRESHOLD <= self.threshold <= 1:
            text = f"is {self.threshold:g}; use {MIN_THRESHOLD} to 1, or leave it out for {DEFAULT_THRESHOLD}"
            found.append(Violation(f"{path}.threshold", text))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Answers are given again to equal questions for `ttl`."""

    ttl: timedelta
    semantic: SemanticCachePolicy | None = None
    """Without it the questions have to be equal."""

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        found = self.semantic.violations(f"{path}.semantic") if self.semantic else []
        if not timedelta() < self.ttl <= MAX_TTL:
            text = f"is {self.ttl.total_seconds():g} s; use more than 0 and at most {MAX_TTL.days} days"
            found.append(Violation(f"{path}.ttl", text))
        return found
