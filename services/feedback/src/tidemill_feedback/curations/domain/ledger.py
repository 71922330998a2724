"""Which corrections become examples: the one place that decides what counts."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.aggregate import ObjectRef
from tidemill_feedback.reactions.domain.feedback import Feedback

WITHDRAWN = "WITHDRAWN"
"""Why a correction is no example any more that was one."""
_USER = "user"
_RANKS = {_USER: 0, "judge": 1, "reviewer": 2}


@dataclass(frozen=True, slots=True)
class CurationRef:
    """Names one incarnation of a curation, which may be deleted and created again."""

    project: str
    curation: str
    incarnation: int

    @property
    def key(self) -> str:
        """Return the curation's key, the same for all incarnations."""
        return f"{self.project}/{self.curation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateExample:
    """A correction that may become an example, as of event `seq` of the feedback."""

    feedback: str
    seq: int
    inference: str
    deployment: str
    end_user: str
    observe_time: datetime
    rater: str = "user"

    @classmethod
    def of(cls, feedback: Feedback) -> "CandidateExample":
        """Return a correction's reference without its text."""
        assert feedback.current is not None  # noqa: S101 - recorded feedback has something given
        return cls(
            feedback=feedback.id,
            seq=feedback.seq,
            inference=feedback.inference,
            deployment=feedback.deployment,
            end_user=feedback.end_user,
            observe_time=feedback.current.observe_time,
            rater=feedback.rater,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One correction in one curation."""

    candidate: CandidateExample
    first_time: datetime
    """When the person first corrected this answer, which orders corrections; later ones keep it."""
    resolved_seq: int = 0
    """The event that was resolved; 0 for none."""
    chars: int = 0
    attempts: int = 0
    """How often resolving failed unexpectedly."""
    failure: str = ""
    """Why it will never be an example."""
    completion: int = 0
    """The first completion it was in, or is about to be in; 0 for none."""

    @property
    def pending(self) -> bool:
        """Return whether the row has to be resolved."""
        return self.resolved_seq != self.candidate.seq and not self.failure

    @property
    def withdrawn(self) -> bool:
        """Return whether only the completion that it was in is kept of it."""
        return self.failure == WITHDRAWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an example must be; 0 for `per_user_at_most` means no bound."""

    deployment: str
    per_user_at_most: int
    min_output_chars: int
    max_output_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A curation in numbers."""

    examples: int = 0
    new: int = 0
    filtered: int = 0
    pending: int = 0
    contested: int = 0
    """Answers that several people have corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A batch that is about to be written, for a completion."""

    object: ObjectRef
    completion: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The progress of an incarnation, stored besides its rows so that changes are detected without reading them."""

    counts: Counts = Counts()
    changes: int = 0
    """The number of changes of rows by events."""
    seen: int = 0
    """The changes that are included in the counts."""
    rows: int = 0
    """The number of rows at the last count."""
    version: int = 0
    """The curation's version at the last count; 0 for never."""
    deployments: int = 0
    listed: str = ""
    """The page token of the initial listing; `deployments` identifies the deployment."""
    due: datetime | None = None
    """When the curation completes without further changes."""
    batch: Begun | None = None
    """A batch that was begun, and that no completion names yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The rows that count, one for each inference, and all in numbers."""

    rows: Sequence[Row]
    counts: Counts
    left_out: int
    """Older ones above the limit."""


def choose(rows: Sequence[Row], filters: Filters, *, completions: int, at_most: int) -> Chosen:
    """Return what counts after all filters.

    Per end user the first `per_user_at_most` count, ordered by their first corrections, so that one that counts keeps
    counting; reviewers and judges have no limit. Of several corrections of one answer, a reviewer's precedes a
    judge's, a judge's a user's, and then the latest wins. An example is new if its inference was in no completion, also
    by a correction that is withdrawn since.
    Of more than `at_most` the latest count, so that a curation continues at the limit of a batch.
    """
    ours = [row for row in rows if row.candidate.deployment == filters.deployment and not row.withdrawn]
    passing = [row for row in ours if passes(row, filters)]
    of_user: dict[str, int] = defaultdict(int)
    of_inference: dict[str, Row] = {}
    correctors = Counter(row.candidate.inference for row in passing)
    for row in sorted(passing, key=lambda each: (each.first_time, each.candidate.feedback)):
        if row.candidate.rater == _USER:
            of_user[row.candidate.end_user] += 1
            if filters.per_user_at_most and of_user[row.candidate.end_user] > filters.per_user_at_most:
                continue
        other = of_inference.get(row.candidate.inference)
        if other is None or _precedence(row) > _precedence(other):
            of_inference[row.candidate.inference] = row
    latest = sorted(of_inference.values(), key=_lateness, reverse=True)[:at_most]
    known = {row.candidate.inference for row in rows if 0 < row.completion <= completions}
    pending = sum(row.pending for row in ours)
    counts = Counts(
        examples=len(latest),
        new=sum(row.candidate.inference not in known for row in latest),
        filtered=len(ours) - pending - len(of_inference),
        pending=pending,
        contested=sum(correctors[inference] > 1 for inference in of_inference),
    )
    return Chosen(rows=latest, counts=counts, left_out=len(of_inference) - len(latest))


def passes(row: Row, filters: Filters) -> bool:
    """Return whether a row passes the filters by itself."""
    fits = filters.min_output_chars <= row.chars <= filters.max_output_chars
    return fits and not row.failure and not row.pending


def _precedence(row: Row) -> tuple[int, datetime, str]:
    return _RANKS.get(row.candidate.rater, 0), *_lateness(row)


def _lateness(row: Row) -> tuple[datetime, str]:
    return row.candidate.observe_time, row.candidate.feedback
