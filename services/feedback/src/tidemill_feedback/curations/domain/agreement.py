"""Whether users agree: corrections of one question that contradict each other, and corrections that repeat."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tidemill_feedback.curations.domain.ledger import Row
from tidemill_feedback.curations.domain.measures import Answers, Measures

MARGIN = 2
"""How many users more must have given another answer before it contradicts one of users: a person's own words are not
wrong because two others gave the same text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The feedback that others confirm, and that which they contradict; most is neither."""

    confirmed: AbstractSet[str]
    contradicted: AbstractSet[str]


def agreement(rows: Sequence[Row]) -> Agreement:
    """Return what the raters of each question agree on.

    Reviewers decide where there are any, then judges, then users: the answer that most of them gave. Of several such
    answers none contradicts the others, and users contradict an answer only with `MARGIN` more voices than it has. A
    user has one voice for an answer, however often they gave it. Only equal answers agree: one that differs in a number
    or by a "not" is nearly the same text, and says the opposite.

    Who has no pseudonym may be anyone, also one person many times: their corrections contradict and confirm none, and
    have a voice each for themselves.
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
    """Return what users gave to so many other questions before, in the order of `rows`.

    Those of each user are compared among themselves: what one says under any question must not take the right answer
    from others.
    """
    of_user: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.by_user:
            of_user[row.candidate.end_user].append(row)
    several = (given for given in of_user.values() if len(given) > max_questions)
    return {feedback for given in several for feedback in _repeats(given, max_questions)}


def measures_of(row: Row) -> Measures:
    """Return the measures of a row that awaits none."""
    assert row.measures is not None  # noqa: S101 - what awaits measures is not compared
    return row.measures


def _repeats(rows: Sequence[Row], max_questions: int) -> Iterator[str]:
    """Yield what one user gave to so many other questions before."""
    answers, questions = Answers(), defaultdict[int, set[str]](set)
    for row in rows:
        measures = measures_of(row)
        answered = questions[answers.number(measures)]
        if measures.question in answered or len(answered) < max_questions:
            answered.add(measures.question)
        else:
            yield row.candidate.feedback


def _compare(rows: Sequence[Row], confirmed: set[str], contradicted: set[str]) -> None:
    """Add what is confirmed and contradicted of one question."""
    deciding = max(row.rank for row in rows)
    raters: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    anonymous = Counter[str]()
    for row in rows:
        if row.anonymous:
            anonymous[measures_of(row).answer] += 1
        else:
            raters[measures_of(row).answer].add((row.rank, row.candidate.end_user))
    votes = {answer: sum(rank == deciding for rank, _ in those) for answer, those in raters.items()}
    top = max(votes.values(), default=0)
    margin = 1 if deciding else MARGIN
    for row in rows:
        answer = measures_of(row).answer
        voices = votes.get(answer, 0) + (anonymous[answer] if row.anonymous and not deciding else 0)
        if top >= voices + margin:
            contradicted.add(row.candidate.feedback)
        elif len(raters[answer]) > 1 and voices == top and not row.anonymous:
            confirmed.add(row.candidate.feedback)
