"""Which candidates are worth a decision: by their form, by what is there already, and by what slices need."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.errors import InvalidInput
from tidemill_core.words import words_of
from tidemill_evaluator.proposals.domain.candidate import Candidate, CandidateFlaw, ProposalLimits
from tidemill_evaluator.proposals.domain.proposal import Coverage, SliceCoverage
from tidemill_evaluator.suites.domain.cases import VARIANT_OF, Case, check_cases, same_reference
from tidemill_evaluator.suites.domain.limits import Limits

COMPARED_CHARACTERS = 500
"""Of each question, by which near duplicates are found; so the comparison costs the same for long ones."""
_COPIED_WORDS = 12
"""In a row: a question with so many of its passage is copied."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What two questions are compared by."""

    case: str
    asked: str
    asked_of: str
    reference: str
    context: str
    words: frozenset[str]
    numbers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """All candidates, the proposed ones first, and the slices that they fill."""

    candidates: Sequence[Candidate]
    slices: Sequence[SliceCoverage] = ()


def selected(
    candidates: Sequence[Candidate],
    existing: Sequence[Case],
    coverage: Coverage | None,
    limits: Limits,
    rules: ProposalLimits,
) -> Selected:
    """Return the candidates, each that is refused with the first reason that there is.

    In this order: what a client found, form, support by the passage, ids, contradictions, repeats, near duplicates,
    and coverage. Of candidates that repeat one another the first is proposed, and none of those that differ.
    """
    checked = [_checked(each, limits, rules) for each in candidates]
    compared = _compared(checked, existing, rules)
    found, slices = _covering(compared, existing, coverage)
    proposed = [each for each in found if each.flaw is None]
    return Selected(candidates=[*proposed, *(each for each in found if each.flaw)], slices=slices)


def not_there(cases: Sequence[Case], existing: Sequence[Case]) -> list[Case]:
    """Return the cases whose id and question are not there by now.

    A question for other readers, or after another system turn, is there where it has the same reference.
    """
    ids, known = {each.id for each in existing}, defaultdict[str, list[Case]](list)
    for each in existing:
        known[each.asked].append(each)

    def is_there(case: Case) -> bool:
        return any(
            each.asked_of == case.asked_of or same_reference(each.reference, case.reference)
            for each in known[case.asked]
        )

    return [case for case in cases if case.id not in ids and not is_there(case)]


def _checked(candidate: Candidate, limits: Limits, rules: ProposalLimits) -> Candidate:
    if candidate.flaw is not None:
        return candidate
    case = candidate.case
    try:
        check_cases([case], limits)
    except InvalidInput as error:
        return candidate.refused(CandidateFlaw.FORM, error.message.replace("suite.cases[0].", ""))
    if not words_of(case.question[:COMPARED_CHARACTERS]):
        return candidate.refused(CandidateFlaw.FORM, "question: has no word")
    if not (case.comparable or case.judgements or case.unanswerable):
        return candidate.refused(CandidateFlaw.FORM, "reference: is empty, and nothing else decides the case")
    return _supported(candidate, rules) if candidate.passage else candidate


def _supported(candidate: Candidate, rules: ProposalLimits) -> Candidate:
    """Refuse what is copied from its passage, or whose reference the passage does not say.

    The share of the reference's words that are in the passage is precision as of ROUGE-1 (Lin 2004): it finds what a
    model made up, and not what it turned into its opposite.
    """
    passage, question = words_of(candidate.passage), words_of(candidate.case.question)
    if _runs(passage) & _runs(question):
        return candidate.refused(CandidateFlaw.COPIED, f"has {_COPIED_WORDS} words in a row of its passage")
    reference = words_of(candidate.case.reference)
    known = set(passage)
    share = sum(word in known for word in reference) / len(reference) if reference else 1.0
    if share < rules.supported:
        why = f"its passage has {share:.0%} of the reference's words; {rules.supported:.0%} is needed"
        return candidate.refused(CandidateFlaw.UNSUPPORTED, why)
    return candidate


def _runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + _COPIED_WORDS]) for start in range(len(words) - _COPIED_WORDS + 1)}


def _compared(candidates: Sequence[Candidate], existing: Sequence[Case], rules: ProposalLimits) -> list[Candidate]:
    """Refuse what is there already, or contradicts what is."""
    ids = {case.id for case in existing}
    known = [_question(case) for case in existing]
    by_asked = defaultdict[str, list[_Question]](list)
    for question in known:
        by_asked[question.asked].append(question)
    ours = {place: _question(each.case) for place, each in enumerate(candidates) if each.flaw is None}
    among = defaultdict[str, list[_Question]](list)
    for question in ours.values():
        among[question.asked].append(question)
    found = list[Candidate]()
    for place, candidate in enumerate(candidates):
        if place in ours:
            candidate = _against(candidate, ours[place], ids, [*by_asked[ours[place].asked]], among, known, rules)  # noqa: PLW2901
        found.append(candidate)
        if candidate.flaw is None:
            ids.add(candidate.case.id)
            known.append(ours[place])
            by_asked[ours[place].asked].append(ours[place])
    return found


def _against(  # noqa: PLR0913, PLR0917 - one candidate, and all that it is compared with
    candidate: Candidate,
    question: _Question,
    ids: set[str],
    same: Sequence[_Question],
    among: Mapping[str, Sequence[_Question]],
    known: Sequence[_Question],
    rules: ProposalLimits,
) -> Candidate:
    if question.case in ids:
        return candidate.refused(CandidateFlaw.REPEATED, f"case {question.case} is there already")
    if repeated := next((each for each in same if same_reference(each.reference, question.reference)), None):
        return candidate.refused(CandidateFlaw.REPEATED, f"case {repeated.case} has the question")
    others = (*same, *among[question.asked])
    if other := next((each for each in others if _contradict(each, question)), None):
        return candidate.refused(CandidateFlaw.CONTRADICTS, f"case {other.case} has another reference")
    if near := next((each for each in known if _near(question, each, rules.near)), None):
        return candidate.refused(CandidateFlaw.NEAR_DUPLICATE, f"case {near.case} has nearly the question")
    return candidate


def _contradict(one: _Question, other: _Question) -> bool:
    """Return whether both are one question in `check_cases`, with references that differ."""
    return one.asked_of == other.asked_of and not same_reference(one.reference, other.reference)


def _question(case: Case) -> _Question:
    words = frozenset(words_of(case.question[:COMPARED_CHARACTERS]))
    asked = case.asked
    return _Question(
        case=case.id,
        asked=asked,
        asked_of=case.asked_of,
        reference=case.reference,
        context="".join(asked.split("\n")[:-1]),
        words=words,
        numbers=frozenset(word for word in words if any(map(str.isdigit, word))),
    )


def _near(one: _Question, other: _Question, near: float) -> bool:
    """Return whether the sets of words are near: Jaccard's coefficient. Another number is another question.

    The same question is for other readers, or after another system turn, where neither repeats the other.
    """
    if one.asked == other.asked:
        return False
    shorter, longer = sorted((len(one.words), len(other.words)))
    if shorter < near * longer or one.numbers != other.numbers or one.context != other.context:
        return False
    common = len(one.words & other.words)
    return common >= near * (shorter + longer - common)


def _covering(
    candidates: Sequence[Candidate], existing: Sequence[Case], coverage: Coverage | None
) -> tuple[list[Candidate], list[SliceCoverage]]:
    """Refuse candidates of slices that have enough different questions; return the slices by value."""
    counts = SliceCounts(existing, coverage)
    found = list[Candidate]()
    for candidate in candidates:
        if candidate.usable and (why := counts.enough(candidate.case)):
            found.append(candidate.refused(CandidateFlaw.COVERED, why))
            continue
        if candidate.usable:
            counts.add(candidate.case)
        found.append(candidate)
    return found, counts.slices


class SliceCounts:
    """How many observations slices have: a case with its variants is one, as evaluations count them."""

    def __init__(self, existing: Sequence[Case], coverage: Coverage | None) -> None:
        self._coverage = coverage
        self._existing = defaultdict[str, set[str]](set)
        self._proposed = defaultdict[str, set[str]](set)
        for case in existing if coverage else ():
            self._existing[coverage.value_of(case)].add(_observation(case))  # type: ignore[union-attr] # see above

    def enough(self, case: Case) -> str:
        """Return why the slice of a case takes no more; "" where it does."""
        if self._coverage is None:
            return ""
        value = self._coverage.value_of(case)
        count = len(self._existing[value] | self._proposed[value])
        return f"slice {self._coverage.label}={value or '(none)'} has {count} cases" * (
            count >= self._coverage.at_least
        )

    def add(self, case: Case) -> None:
        """Count a proposed case."""
        if self._coverage is not None:
            self._proposed[self._coverage.value_of(case)].add(_observation(case))

    @property
    def slices(self) -> list[SliceCoverage]:
        """Those that have cases, or would, by value."""
        known, proposed = self._existing, self._proposed
        return [
            SliceCoverage(value=value, existing=len(known[value]), proposed=len(proposed[value] - known[value]))
            for value in sorted(known.keys() | proposed.keys())
        ]


def _observation(case: Case) -> str:
    return case.labels.get(VARIANT_OF, case.id)


def counted(candidates: Iterable[Candidate]) -> Mapping[str, int]:
    """Return how many candidates were refused, by flaw."""
    counts = defaultdict[str, int](int)
    for each in candidates:
        if each.flaw is not None:
            counts[each.flaw.name] += 1
    return dict(sorted(counts.items()))
