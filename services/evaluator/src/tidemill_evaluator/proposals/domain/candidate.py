"""A candidate: a case that is proposed, or refused with the reason."""

from dataclasses import dataclass, replace
from enum import Enum

from tidemill_evaluator.suites.domain.cases import Case, schema_text


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

    @property
    def usable(self) -> bool:
        """Whether nothing is known against it."""
        return self.flaw is None

    def refused(self, flaw: CandidateFlaw, why: str) -> "Candidate":
        """Return it as refused."""
        return replace(self, flaw=flaw, why=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalLimits:
    """How many candidates a proposal may have, and when one is refused."""

    candidates: int = 200
    characters: int = 1_000_000
    """Of all candidates together, so that they fit a message."""
    read: int = 1000
    """Live answers that are read for one proposal."""
    documents: int = 100
    """Document versions that a candidate may rest on."""
    near: float = 0.8
    """Share of common words (Jaccard) from which two questions are near duplicates."""
    supported: float = 0.6
    """Share of a reference's words that have to be in the passage that it was generated from."""


def characters_of(case: Case) -> int:
    """Return the length of a case, with all that a caller chose of it; values and schemas as JSON."""
    context = case.context
    texts = [case.id, case.question, case.reference, case.code_tests, schema_text(case), *context.principals]
    texts += [turn.text for turn in context.earlier]
    texts += [text for label in case.labels.items() for text in label]
    texts += [*(each.document for each in case.judgements), *(each.document for each in case.rests_on)]
    texts += [context.values_text, *((*case.expect.must_not_contain, case.expect.must_match) if case.expect else ())]
    return sum(map(len, texts))
