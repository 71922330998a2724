"""Ports of reactions."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, Page, PageRequest, Request, ResourceKey
from tidemill_core.errors import TidemillError
from tidemill_feedback.reactions.domain.feedback import Answer, Feedback
from tidemill_feedback.reactions.domain.reaction import Reaction

FeedbackStore = Aggregates[Feedback]
ForgetExamples = Callable[[Caller, Sequence[Feedback], str], Awaitable[None]]
"""Deletes what is kept of erased feedback elsewhere, and the prompts of an end user's questions."""

EraseReviews = Callable[[Caller, str], Awaitable[int]]
"""Erases some reviews that an end user's questions are about, or that name the user; returns how many, 0 for none."""
RemoveOldBatches = Callable[[str, datetime], Awaitable[int]]
"""Removes a project's batches that were written before a time; returns how many."""


class AnswerGiven(Protocol):
    """What is done about each live answer, besides matching what waits for it."""

    async def __call__(self, caller: Caller, inference: str, *, asked_at: datetime) -> None:
        """Do it; idempotent."""
        ...


class ErasedUsers(Protocol):
    """The erasures of end users that this service has carried out."""

    async def __call__(self, project: str, end_users: Collection[str], /) -> Mapping[str, datetime]:
        """Return until when what came of a user is erased, of those that were."""
        ...


class Retained(Protocol):
    """How long projects keep their feedback, and what legal holds keep."""

    def projects(self) -> Mapping[str, timedelta]:
        """Return how long the projects keep it that say so."""
        ...

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed."""
        ...


class OldFeedback(Protocol):
    """Reactions by their age."""

    async def ids(self, project: str, *, before: datetime, limit: int) -> list[str]:
        """Return ids of feedback that was given earlier and has not changed since, the oldest first."""
        ...


class Inferences(Protocol):
    """The inference service: answers, and the records of end users."""

    async def answer(self, caller: Caller, target: str) -> Answer:
        """Return what is known about an inference, or about the last answer of a conversation (`Reaction.target_in`).

        Raises:
            InferenceUnknown: the project has none with this id; ConversationUnknown if it is a conversation.
            DependencyUnavailable: inference does not answer.

        """
        ...

    async def erase(self, caller: Caller, end_user: str, *, validate_only: bool) -> int:
        """Erase the records of an end user's questions, or only count them; return how many there were.

        Raises:
            DependencyUnavailable: inference does not answer; a repetition erases what is left.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedEvent:
    """The submitted record, kept to write it unchanged as a dead letter."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    topic: str
    partition: int
    offset: int
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A reaction to an inference that is unknown or not completed."""

    project: str
    inference: str
    """What it waits for, as `Reaction.target_in` says: a conversation, too."""
    reaction: Reaction
    request: Request
    event: SubmittedEvent
    since: datetime


class Pending(Protocol):
    """Pending reactions by inference."""

    async def add(self, waiting: Waiting) -> None:
        """Add a reaction; idempotent by request.

        Raises:
            TooManyWait: the limit per inference is reached.
            PreconditionFailed: the project's quota of inferences with pending reactions is reached.

        """
        ...

    async def of(self, project: str, inference: str) -> Sequence[Waiting]:
        """Return the reactions pending on an inference, in order of arrival."""
        ...

    async def since(
        self, until: datetime, *, page: PageRequest, without: frozenset[str] = frozenset()
    ) -> Page[ResourceKey]:
        """Return the inferences of reactions pending since `until` or earlier, the oldest first.

        Those of the projects in `without` are left out.
        """
        ...

    async def remove(self, waiting: Waiting) -> None:
        """Remove a reaction; idempotent."""
        ...

    async def forget(self, project: str, end_user: str) -> int:
        """Remove all reactions of an end user; return for how many inferences there were some."""
        ...


class DeadLetters(Protocol):
    """The dead-letter topic of submissions."""

    async def put(self, waiting: Waiting, error: TidemillError) -> None:
        """Write the submission to the dead letters, with the reason.

        Raises:
            DependencyUnavailable: Kafka is not available.

        """
        ...
