"""Events of feedback: feedback, curations and reviews."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_monitor.events.meta import Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecorded:
    """feedback.recorded. Who gave it is not read."""

    feedback: str
    seq: int
    inference: str
    deployment: str = ""
    metric: str = ""
    number: float | None = None
    rater: str = ""
    variant: str = ""
    counts: bool | None = None
    """None in events older than this field, of which all count."""
    absent: bool | None = None
    """True where it was not given: its metric matured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithdrawn:
    """feedback.withdrawn. Who had given it is not read."""

    feedback: str
    seq: int
    inference: str
    deployment: str = ""
    metric: str = ""
    rater: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatch:
    """Where the examples of a completion lie."""

    bucket: str
    key: str
    size: int
    sha256: str
    examples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationCompleted:
    """curation.completed."""

    curation: str
    seq: int
    batch: ExampleBatch
    dataset: str = ""
    deployment: str = ""
    new_examples: int = 0


class ReviewItemResolved(Counted):
    """review.resolved. What was said, of what and by whom, is not read."""


class ReviewItemRemoved(Counted):
    """review.removed."""


TYPES: Mapping[str, type] = {
    "tidemill.feedback.feedback.recorded.v1": FeedbackRecorded,
    "tidemill.feedback.feedback.withdrawn.v1": FeedbackWithdrawn,
    "tidemill.feedback.curation.completed.v1": CurationCompleted,
    "tidemill.feedback.review.resolved.v1": ReviewItemResolved,
    "tidemill.feedback.review.removed.v1": ReviewItemRemoved,
}
