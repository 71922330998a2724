"""How far a version has memorised the canaries that were planted in what it learnt from, and that text itself.

Exposure is that of Carlini et al. (The Secret Sharer, USENIX Security 2019) in bits: the logarithm of how many
candidates there are, less that of a canary's rank among them, with candidates drawn by chance in place of all. They are
ranked by what training added to their log-likelihood, which takes out what the base preferred already (a reference
model, as in Carlini et al., Membership Inference Attacks From First Principles, 2022). A canary's number was drawn as
those of its candidates were, so that for a model that never saw it each rank is as probable as any other, whatever
model, base and score are: a rank divided by their number is an exact p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.01
"""How often a model that never saw a canary raises an alarm, and how often a canary is found by chance, at most."""
_LEVEL = LEVEL * (1 + 1e-9)
"""The same, but for the last digits of a p-value: that of rank 1 of 100 is above 0.01 by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryGroup:
    """The canaries that were planted equally often; exposures are means in bits."""

    repeats: int
    canaries: int
    """Those that were measured."""
    found: int
    """Those whose rank is among the first hundredth."""
    exposure: float
    found_alone: int
    """As `found`, ranked by the log-likelihood of the trained model alone, as the paper does."""
    exposure_alone: float
    exposure_of_base: float
    """Ranked by the log-likelihood of the base alone, which never saw them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """Of training examples, how many go on word by word after the first half of their answer (greedy decoding)."""

    examples: int
    """Those that were examined: of answers that are long enough."""
    extracted: int
    extracted_by_base: int
    """By the base, which never saw them: their end follows from their beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorisation:
    """What was measured after the last step."""

    candidates: int
    """Other numbers that each canary was ranked among."""
    planted: int = 0
    """All that were planted; more than were measured where there was no time for the rest, 0 where it was not kept."""
    groups: tuple[CanaryGroup, ...] = ()
    extraction: Extraction | None = None

    @property
    def canaries(self) -> int:
        """All that were measured."""
        return sum(each.canaries for each in self.groups)

    @property
    def found(self) -> int:
        """All that were found."""
        return sum(each.found for each in self.groups)

    @property
    def exposure(self) -> float:
        """The mean exposure of all canaries, in bits."""
        return sum(each.exposure * each.canaries for each in self.groups) / self.canaries if self.canaries else 0.0

    @property
    def p_value(self) -> float:
        """How probably a model that never saw the canaries has such an exposure, at most."""
        return p_value_of(self.exposure, self.canaries)

    @property
    def threshold(self) -> float:
        """The exposure, in bits, that such a model exceeds once in a hundred at most."""
        return threshold_of(self.canaries)

    @property
    def alarm(self) -> bool:
        """Whether it is above that."""
        return is_alarm(self.p_value)

    def __str__(self) -> str:
        """Return it as text."""
        of = f"{self.canaries} of {self.planted}" if self.planted > self.canaries else f"{self.canaries}"
        text = (
            f"exposure of {of} canaries {self.exposure:.2f} bits (a model that never saw them is above "
            f"{self.threshold:.2f} at {LEVEL:.0%}), {self.found} found"
        )
        if not self.canaries:
            text = f"{of} canaries measured: there was no time"
        extraction = self.extraction
        if extraction is None:
            return text
        return (
            f"{text}; {extraction.extracted} of {extraction.examples} examples extracted "
            f"({extraction.extracted_by_base} by the base)"
        )


def p_value_of(exposure: float, canaries: int) -> float:
    """Return how probably a model that never saw so many canaries has this mean exposure, in bits, or a higher one.

    The sum of the natural logarithms of independent p-values has a gamma distribution (Fisher, Statistical Methods for
    Research Workers, 1932); those of ranks are never smaller than the uniform ones of a continuous score.
    """
    total = exposure * canaries * math.log(2)
    if total <= 0:
        return 1.0
    logarithms = (count * math.log(total) - total - math.lgamma(count + 1) for count in range(canaries))
    return min(1.0, math.fsum(map(math.exp, logarithms)))


def is_alarm(p_value: float) -> bool:
    """Return whether a p-value is LEVEL at most."""
    return p_value <= _LEVEL


def threshold_of(canaries: int) -> float:
    """Return the least mean exposure, in bits, whose p-value is LEVEL at most; 0 without canaries."""
    if not canaries:
        return 0.0
    low, high = 0.0, 2 * math.log2(1 / LEVEL)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_alarm(p_value_of(middle, canaries)) else (middle, high)
    return high


def exposure_of(rank: int, candidates: int) -> float:
    """Return the exposure in bits of a canary with this rank, 1 for the likeliest, among `candidates` others."""
    return math.log2(candidates + 1) - math.log2(rank)


def is_found(rank: int, candidates: int) -> bool:
    """Return whether a canary with this rank is found at LEVEL."""
    return rank <= _LEVEL * (candidates + 1)


def group_of(
    repeats: int, ranks: Sequence[int], *, alone: Sequence[int], of_base: Sequence[int], candidates: int
) -> CanaryGroup:
    """Return what ranks say of the canaries that were planted so often, at least one."""

    def mean(of: Sequence[int]) -> float:
        return sum(exposure_of(rank, candidates) for rank in of) / len(of)

    return CanaryGroup(
        repeats=repeats,
        canaries=len(ranks),
        found=sum(is_found(rank, candidates) for rank in ranks),
        exposure=mean(ranks),
        found_alone=sum(is_found(rank, candidates) for rank in alone),
        exposure_alone=mean(alone),
        exposure_of_base=mean(of_base),
    )
