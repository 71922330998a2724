"""A candidate: a case that is proposed, or refused with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from tidemill_evaluator.suites.domain.cases import Case


class CandidateFlaw(Enum):
    """Why a candidate is not proposed."""

    FORM = "form"
    REPEATED = "repeated"
    NEAR_DUPLICATE = "near_duplicate"
    CONTRADICTS = "contradicts"
    UNSUPPORTED = "unsupported"
    COVERED = "covered"
    UNUSABLE = "unusable"
    COPIED = "copied"


class ReferenceFrom(Enum):
    """What says that a reference is right."""

    CORRECTION = "correction"
    REVIEW = "review"
    GIVEN = "given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """`passage` is what it was generated from; it is not stored."""

    case: Case
    flaw: CandidateFlaw | None = None
    why: str = ""
    passage: str = ""
    reference_from: ReferenceFrom = ReferenceFrom.GIVEN

    def refused(self, flaw: CandidateFlaw, why: str) -> "Candidate":
        """Return it as refused."""
        return replace(self, flaw=flaw, why=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalLimits:
    """How many candidates a proposal may have, and when one is refused."""

    candidates: int = 200
    characters: int = 1_000_000
    """Of all candidates together, so that they fit a message."""
    near: float = 0.8
    """Share of common words (Jaccard) from which two questions are near duplicates."""
    supported: float = 0.6
    """Share of a reference's words that have to be in the passage that it was generated from."""


def characters_of(case: Case) -> int:
    """Return the length of a case's texts."""
    turns = sum(len(turn.text) for turn in case.context.earlier)
    return len(case.question) + len(case.reference) + len(case.code_tests) + turns


def first_within(lengths: Mapping[str, int], limit: int) -> set[str]:
    """Return the names of the first ones whose lengths together do not exceed the limit."""
    total, found = 0, set[str]()
    for name, length in lengths.items():
        total += length
        if total > limit:
            break
        found.add(name)
    return found
