"""What is stored of reactions that may become examples, and of a curation's progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.aggregate import ObjectRef
from tidemill_feedback.curations.domain.measures import Measures
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.domain.reaction import CORRECTION

WITHDRAWN = "WITHDRAWN"
"""Why a reaction is no example any more that was one."""
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
    """A reaction that may become an example, as of event `seq` of the feedback."""

    feedback: str
    seq: int
    inference: str
    deployment: str
    end_user: str
    observe_time: datetime
    rater: str = "user"
    metric: str = CORRECTION
    other: str = ""
    """Of a choice: the rejected inference."""

    @property
    def inferences(self) -> Sequence[str]:
        """The inferences whose answers it is about."""
        return [self.inference, self.other] if self.other else [self.inference]

    @property
    def about(self) -> str:
        """What there is one example of: the answer, or the two between which there was a choice."""
        return " ".join(sorted(self.inferences))

    @classmethod
    def of(cls, feedback: Feedback) -> "CandidateExample":
        """Return a reaction's reference without what it says."""
        assert feedback.current is not None  # noqa: S101 - recorded feedback has something given
        return cls(
            feedback=feedback.id,
            seq=feedback.seq,
            inference=feedback.inference,
            deployment=feedback.deployment,
            end_user=feedback.end_user,
            observe_time=feedback.current.observe_time,
            rater=feedback.rater,
            metric=feedback.metric,
            other=feedback.other,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One reaction in one curation."""

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
    measures: Measures | None = None
    """What its text is compared by; None where nothing compared it yet."""
    refusal: str = ""
    """Why it was no example when all were counted last, "" where it was one or was not counted."""

    @property
    def pending(self) -> bool:
        """Return whether the row has to be resolved."""
        return self.resolved_seq != self.candidate.seq and not self.failure

    @property
    def corrects(self) -> bool:
        """Return whether it is a text of its author, and no verdict on one of the model."""
        return self.candidate.metric == CORRECTION

    @property
    def by_user(self) -> bool:
        """Return whether a user gave it, and no reviewer or judge."""
        return self.candidate.rater == _USER

    @property
    def anonymous(self) -> bool:
        """Return whether it is of a user without a pseudonym, who may be anyone."""
        return self.by_user and not self.candidate.end_user

    @property
    def rank(self) -> int:
        """Return whose correction precedes: the greater one's."""
        return _RANKS.get(self.candidate.rater, 0)

    @property
    def withdrawn(self) -> bool:
        """Return whether only the completion that it was in is kept of it."""
        return self.failure == WITHDRAWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A curation in numbers."""

    examples: int = 0
    new: int = 0
    filtered: int = 0
    pending: int = 0
    contested: int = 0
    """Answers that several people have reacted to."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """How many are filtered, by reason."""

    def at_most(self, limit: int) -> "Counts":
        """Return the counts as they are if all that is filtered were examples."""
        return replace(
            self, examples=min(self.examples + self.filtered, limit), new=min(self.new + self.filtered, limit)
        )


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
