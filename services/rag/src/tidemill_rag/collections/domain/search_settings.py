"""How searches of a collection rank: what is not stored in points."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG

MAX_WEIGHT = 100.0
MAX_NEIGHBOURS = 5
DEFAULT_CANDIDATES, MAX_CANDIDATES = 20, 100
_MODEL_VERSION = re.compile(rf"{SLUG.pattern}@[1-9][0-9]{{0,8}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerank:
    """A cross-encoder that orders the best candidates."""

    model: str
    """`model@version`: no other version may come in its place without a change of the settings."""
    candidates: int = 0
    """0 is the default."""

    @property
    def reads(self) -> int:
        """Return how many candidates are read."""
        return self.candidates or DEFAULT_CANDIDATES

    def violations(self, field: str) -> Iterator[Violation]:
        """Yield what is out of bounds; `field` is the path in the request."""
        if not _MODEL_VERSION.fullmatch(self.model):
            yield Violation(f"{field}.model", f"is {self.model[:80]!r}; write `model@version`, as in reranker@1")
        if not 0 <= self.candidates <= MAX_CANDIDATES:
            text = f"is {self.candidates}; use 1 to {MAX_CANDIDATES}, or 0 for the default, {DEFAULT_CANDIDATES}"
            yield Violation(f"{field}.candidates", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How searches rank: what they change is not stored in points."""

    dense_weight: float = 1.0
    sparse_weight: float = 0.7
    min_score: float = 0.0
    """Passages with a lower cosine are left out; 0 leaves none out."""
    diversity: float = 0.0
    """How much a passage loses by being like a better one, 0 to 1."""
    neighbours: int = 0
    """Passages before and after a found one that are returned with it."""
    rerank: Rerank | None = None
    answerable_above: float = 0.0
    """A question finds nothing where its best passage has a lower relevance; 0 refuses none."""
    identifiers_required: bool = False
    """A question finds nothing where none of its best passages has an identifier that it names."""


def search_violations(search: SearchSettings, *, field: str) -> Iterator[Violation]:
    """Yield what is wrong with search settings; `field` is their path in the request."""
    weights = {"dense_weight": search.dense_weight, "sparse_weight": search.sparse_weight}
    for name, weight in weights.items():
        if not 0 <= weight <= MAX_WEIGHT:  # false for NaN too
            yield Violation(f"{field}.{name}", f"is {weight:g}; use 0 to {MAX_WEIGHT:g}")
    if not 0 <= search.min_score <= 1:
        yield Violation(f"{field}.min_score", f"is {search.min_score:g}; use 0 (for all passages) to 1")
    if not 0 <= search.answerable_above <= 1:
        text = f"is {search.answerable_above:g}; use 0 (which refuses no question) to 1"
        yield Violation(f"{field}.answerable_above", text)
    if not 0 <= search.diversity <= 1:
        yield Violation(f"{field}.diversity", f"is {search.diversity:g}; use 0 (for the order as it is) to 1")
    if not 0 <= search.neighbours <= MAX_NEIGHBOURS:
        yield Violation(f"{field}.neighbours", f"is {search.neighbours}; use 0 to {MAX_NEIGHBOURS}")
    if search.rerank is not None:
        yield from search.rerank.violations(f"{field}.rerank")
    if not any(weights.values()):
        yield Violation(field, "has no weight above 0: set dense_weight or sparse_weight")
