"""Which reactions count, and why the others do not: the one place that decides it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_feedback.curations.domain.agreement import agreement, measures_of, repeated
from tidemill_feedback.curations.domain.filters import (
    COHORT_SHARE,
    CONTRADICTED,
    PER_USER_LIMIT,
    REPEATED_TEXT,
    SUPERSEDED,
    UNRELIABLE_RATER,
    USER_SHARE,
    Filters,
)
from tidemill_feedback.curations.domain.ledger import Counts, Row
from tidemill_feedback.curations.domain.reliability import reliabilities, reliability
from tidemill_feedback.curations.domain.shares import ShareLimit, within_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The rows that count, one for each answer or choice, and all in numbers."""

    rows: Sequence[Row]
    counts: Counts
    left_out: int
    """Older ones above the limit."""
    changed: Mapping[str, str]
    """By feedback, why it is no example where its row does not say so yet, "" where it is no refusal any more."""


_NEW_RATER = reliability(0, 0)


@dataclass(slots=True)
class _Selection:
    """What is left of the rows, and why the others are not."""

    rows: list[Row]
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def corrections(self) -> list[Row]:
        """Return the rows that are left and have a text of their own."""
        return [row for row in self.rows if row.corrects]

    def refuse(self, reason: str, refused: AbstractSet[str]) -> None:
        self.refusals |= dict.fromkeys(refused, reason)
        self.rows = [row for row in self.rows if row.candidate.feedback not in refused]

    def refuse_each(self, filters: Filters) -> None:
        """Refuse what is no example by itself."""
        self.refusals |= {row.candidate.feedback: why for row in self.rows if (why := filters.refusal(row))}
        self.rows = [row for row in self.rows if row.candidate.feedback not in self.refusals]

    def refuse_among(self, filters: Filters) -> Mapping[str, float]:
        """Refuse what is none beside the others, the oldest first; return how reliable users are, if that counts.

        Only corrections are compared: what is rated or chosen is the model's own text. What is above the limit of its
        user has no voice either: so one user speaks on no more questions than that.
        """
        raters: Mapping[str, float] = {}
        if filters.per_user_at_most:
            self.refuse(PER_USER_LIMIT, _above(self.rows, filters.per_user_at_most))
        if filters.max_repeats:
            self.refuse(REPEATED_TEXT, repeated(self.corrections, max_questions=filters.max_repeats))
        if filters.min_rater_reliability:
            raters = reliabilities(self.corrections, agreement(self.corrections))
            self.refuse(UNRELIABLE_RATER, _unreliable(self.rows, raters, filters.min_rater_reliability))
        if filters.exclude_contradicted:
            self.refuse(CONTRADICTED, agreement(self.corrections).contradicted)
        self.refuse(SUPERSEDED, _superseded(self.rows))
        return raters


def choose(rows: Sequence[Row], filters: Filters, *, completions: int, at_most: int) -> Chosen:
    """Return what counts after all filters.

    Per end user the first `per_user_at_most` count and have a voice, ordered by their first corrections, so that one
    that counts keeps counting; reviewers and judges have no limit. An answer that a user repeats over questions counts
    for the first of them, and has no say in the others; nor has a rater whom others contradict too often. Of several
    reactions to one answer, a reviewer's precedes a judge's, a judge's a user's, and then the latest wins. An example
    is new if its inference was in no completion, also by a correction that is withdrawn since. Of more than `at_most`
    the latest count, so that a curation continues at the limit of a batch; shares are those of a batch, of which the
    most reliable raters keep theirs, and then the first.
    """
    ours = [row for row in rows if filters.selects(row) and not row.withdrawn]
    ready = sorted((row for row in ours if not filters.awaits(row)), key=_age)
    selection = _Selection(ready)
    selection.refuse_each(filters)
    correctors = Counter(row.candidate.about for row in selection.rows)
    raters = selection.refuse_among(filters)
    latest = sorted(selection.rows, key=_lateness, reverse=True)[:at_most]
    left_out = len(selection.rows) - len(latest)
    by_worth = sorted(latest, key=lambda row: (-raters.get(row.candidate.end_user, _NEW_RATER), *_age(row)))
    kept, above = within_shares(by_worth, _limits(filters))
    chosen = sorted(kept, key=_lateness, reverse=True)
    known = {row.candidate.about for row in rows if 0 < row.completion <= completions}
    refused = selection.refusals | above
    counts = Counts(
        examples=len(chosen),
        new=sum(row.candidate.about not in known for row in chosen),
        filtered=len(refused),
        pending=len(ours) - len(ready),
        contested=sum(correctors[row.candidate.about] > 1 for row in selection.rows),
        refused=dict(sorted(Counter(refused.values()).items())),
    )
    changed = {
        row.candidate.feedback: why for row in rows if (why := refused.get(row.candidate.feedback, "")) != row.refusal
    }
    return Chosen(rows=chosen, counts=counts, left_out=left_out, changed=changed)


def _unreliable(rows: Sequence[Row], known: Mapping[str, float], bound: float) -> AbstractSet[str]:
    """Return what users say whose reliability is below the bound."""
    return {
        row.candidate.feedback for row in rows if row.by_user and known.get(row.candidate.end_user, _NEW_RATER) < bound
    }


def _above(rows: Sequence[Row], limit: int) -> AbstractSet[str]:
    """Return what is above the limit of its user."""
    of_user: defaultdict[str, int] = defaultdict(int)
    found = set[str]()
    for row in rows:
        if row.by_user:
            of_user[row.candidate.end_user] += 1
            if of_user[row.candidate.end_user] > limit:
                found.add(row.candidate.feedback)
    return found


def _superseded(rows: Sequence[Row]) -> AbstractSet[str]:
    """Return all but the one of each answer that precedes the others."""
    of_inference: dict[str, Row] = {}
    for row in rows:
        other = of_inference.get(row.candidate.about)
        if other is None or _precedence(row) > _precedence(other):
            of_inference[row.candidate.about] = row
    return {row.candidate.feedback for row in rows} - {row.candidate.feedback for row in of_inference.values()}


def _limits(filters: Filters) -> Sequence[ShareLimit]:
    found = list[ShareLimit]()
    if filters.max_user_share:
        found.append(
            ShareLimit(share=filters.max_user_share, key=lambda row: row.candidate.end_user, reason=USER_SHARE)
        )
    if filters.max_cohort_share:
        found.append(
            ShareLimit(share=filters.max_cohort_share, key=lambda row: measures_of(row).cohort, reason=COHORT_SHARE)
        )
    return found


def _age(row: Row) -> tuple[datetime, str]:
    return row.first_time, row.candidate.feedback


def _precedence(row: Row) -> tuple[int, datetime, str]:
    return row.rank, *_lateness(row)


def _lateness(row: Row) -> tuple[datetime, str]:
    return row.candidate.observe_time, row.candidate.feedback
