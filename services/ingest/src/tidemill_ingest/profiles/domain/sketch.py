"""Counts and distributions of many versions in bounded space: they are added one by one, and merged.

Distributions are KLL sketches (Karnin, Lang, Liberty, Optimal quantile approximation in streams, 2016), numbers of
different texts and documents HyperLogLog (Flajolet et al., 2007), both of Apache DataSketches. KLL keeps some of the
numbers that it was given, HyperLogLog bits of hashes: of neither a text or an id can be read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from datasketches import hll_sketch, hll_union, kll_doubles_sketch, tgt_hll_type

from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome, categories_of

MAX_CATEGORIES = 200
"""Of a column, so that names which callers choose do not fill it; what comes later is counted as `OTHER`."""
OTHER = "other"
RANKS = tuple(step / 40 for step in range(41))
_K = 400
"""The rank of a quantile is right within 0.7 %, with 9 kB for a column."""
_LOG_REGISTERS = 12
_FENCE = 1.5


class Distribution:
    """The values of one column, whose sum is exact."""

    def __init__(self, stored: bytes = b"", *, total: float = 0.0) -> None:
        self._kll = kll_doubles_sketch.deserialize(stored) if stored else kll_doubles_sketch(_K)
        self.total = total

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self._kll.n)

    @property
    def rank_error(self) -> float:
        """By how much the rank of a value may be off."""
        return float(self._kll.normalized_rank_error(False)) if self._kll.is_estimation_mode() else 0.0  # noqa: FBT003

    def add(self, value: float) -> None:
        """Add one value."""
        self._kll.update(value)
        self.total += value

    def merge(self, other: "Distribution") -> None:
        """Add the values of another one."""
        self._kll.merge(other._kll)  # noqa: SLF001 - of the same class
        self.total += other.total

    def quantiles(self) -> tuple[float, ...]:
        """Return the values at `RANKS`."""
        return tuple(map(float, self._kll.get_quantiles(list(RANKS)))) if self.count else ()

    def shares_up_to(self, values: list[float]) -> list[float]:
        """Return the share of what is not above each of some values, which are different and in order."""
        return [float(share) for share in self._kll.get_cdf(values, True)][:-1]  # noqa: FBT003

    def outliers(self) -> int:
        """Return how many values are outside of Tukey's fences."""
        quantiles = self.quantiles()
        if not quantiles:
            return 0
        low, high = quantiles[10], quantiles[30]
        fences = low - _FENCE * (high - low), high + _FENCE * (high - low)
        inside = self._kll.get_rank(fences[1], True) - self._kll.get_rank(fences[0], False)  # noqa: FBT003
        return round((1 - float(inside)) * self.count)

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return bytes(self._kll.serialize())

    def __reduce__(self) -> tuple[object, ...]:
        """Let it go to another process."""
        return _distribution, (self.to_bytes(), self.total)


def _distribution(stored: bytes, total: float) -> Distribution:
    return Distribution(stored, total=total)


class Distinct:
    """How many different things there were."""

    def __init__(self, stored: bytes = b"") -> None:
        self._hll = hll_sketch.deserialize(stored) if stored else hll_sketch(_LOG_REGISTERS, tgt_hll_type.HLL_4)

    def add(self, thing: int | str) -> None:
        """Count a thing, if it was not counted before."""
        self._hll.update(thing)

    def merge(self, other: "Distinct") -> None:
        """Count those of another one."""
        union = hll_union(_LOG_REGISTERS)
        union.update(self._hll)
        union.update(other._hll)  # noqa: SLF001 - of the same class
        self._hll = union.get_result(tgt_hll_type.HLL_4)

    @property
    def estimate(self) -> float:
        """How many there were."""
        return float(self._hll.get_estimate())

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return bytes(self._hll.serialize_compact())

    def __reduce__(self) -> tuple[object, ...]:
        """Let it go to another process."""
        return Distinct, (self.to_bytes(),)


@dataclass(slots=True, kw_only=True)
class Sketch:
    """What is known of some versions together."""

    count: int = 0
    categories: dict[str, dict[str, int]] = field(default_factory=dict)
    """By column and category."""
    numbers: dict[str, Distribution] = field(default_factory=dict)
    texts: Distinct = field(default_factory=Distinct)
    documents: Distinct = field(default_factory=Distinct)
    end_users: Counter[str] = field(default_factory=Counter)
    """How many there are of each, where that is known; it is never stored."""
    cohorts: Counter[str] = field(default_factory=Counter)
    """How many there are of each, ditto."""

    def add(self, version: NewVersion, outcome: Outcome) -> None:
        """Count a version."""
        self.add_facts(
            categories_of(version, outcome), version.numbers, text=version.traits.digest, of=version.document
        )

    def add_facts(
        self, categories: Iterable[tuple[str, str, int]], numbers: Iterable[tuple[str, float]], *, text: int, of: str
    ) -> None:
        """Count one text with 64 bits of its hash, and the name of what it is of."""
        self.count += 1
        for column, category, count in categories:
            self._count(column, category, count)
        for column, value in numbers:
            self.numbers.setdefault(column, Distribution()).add(value)
        self.texts.add(_signed(text))
        self.documents.add(of)

    def merge(self, other: "Sketch") -> None:
        """Count what another one did; the other one stays as it is."""
        self.count += other.count
        for column, category, count in other.counted():
            self._count(column, category, count)
        for column, distribution in other.numbers.items():
            self.numbers.setdefault(column, Distribution()).merge(distribution)
        self.texts.merge(other.texts)
        self.documents.merge(other.documents)
        self.end_users.update(other.end_users)
        self.cohorts.update(other.cohorts)

    def counted(self) -> Iterator[tuple[str, str, int]]:
        """Yield columns, categories and their counts."""
        for column, counts in self.categories.items():
            for category, count in counts.items():
                yield column, category, count

    def counts(self, column: str) -> Mapping[str, int]:
        """Return the categories of a column with their counts."""
        return self.categories.get(column, {})

    def _count(self, column: str, category: str, count: int) -> None:
        counts = self.categories.setdefault(column, {})
        name = category if category in counts or len(counts) < MAX_CATEGORIES else OTHER
        counts[name] = counts.get(name, 0) + count


def _signed(digest: int) -> int:
    """Return the same 64 bits as a number with a sign, as the sketch takes them."""
    return digest - (1 << 64) if digest >> 63 else digest
