"""Whether users agree: corrections of one question that contradict each other, and corrections that repeat."""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tidemill_feedback.curations.domain.ledger import Row
from tidemill_feedback.curations.domain.measures import Answers, Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The feedback that others confirm, and that which they contradict; what only one person says is neither."""

    confirmed: AbstractSet[str]
    contradicted: AbstractSet[str]


def agreement(rows: Sequence[Row]) -> Agreement:
    """Return what the raters of each question agree on.

    Reviewers decide where there are any, then judges, then users: the answer that most of them gave. Of several such
    answers none contradicts the others. A user counts once for an answer, however often they gave it. Only equal
    answers agree: one that differs in a number or by a "not" is nearly the same text, and says the opposite.
    """
    confirmed, contradicted = set[str](), set[str]()
    questions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        questions[measures_of(row).question].append(row)
    for of_question in questions.values():
        if len(of_question) > 1:
            _compare(of_question, confirmed, contradicted)
    return Agreement(confirmed=confirmed, contradicted=contradicted)


def repeated(rows: Sequence[Row], *, max_questions: int) -> AbstractSet[str]:
    """Return the feedback of users whose answer was given to so many other questions before, in the order of `rows`."""
    answers, found = Answers(), set[str]()
    questions: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        if not row.by_user:
            continue
        answered = questions[answers.number(measures_of(row))]
        if measures_of(row).question in answered or len(answered) < max_questions:
            answered.add(measures_of(row).question)
        else:
            found.add(row.candidate.feedback)
    return found


def measures_of(row: Row) -> Measures:
    """Return the measures of a row that awaits none."""
    assert row.measures is not None  # noqa: S101 - what awaits measures is not compared
    return row.measures


def _compare(rows: Sequence[Row], confirmed: set[str], contradicted: set[str]) -> None:
    """Add what is confirmed and contradicted of one question."""
    deciding = max(row.rank for row in rows)
    raters: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    for row in rows:
        raters[measures_of(row).answer].add((row.rank, row.candidate.end_user))
    votes = {answer: sum(rank == deciding for rank, _ in those) for answer, those in raters.items()}
    top = max(votes.values())
    for row in rows:
        answer = measures_of(row).answer
        if votes[answer] < top:
            contradicted.add(row.candidate.feedback)
        elif len(raters[answer]) > 1:
            confirmed.add(row.candidate.feedback)
