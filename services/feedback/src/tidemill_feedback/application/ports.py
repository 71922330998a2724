"""What feedback needs from outside."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_feedback.domain.curation import Curation
from tidemill_feedback.domain.example import Example, Prompt
from tidemill_feedback.domain.feedback import Answer, Feedback
from tidemill_feedback.domain.ledger import CandidateExample, Counts, CurationRef, Row, Tally
from tidemill_feedback.domain.reaction import Reaction
from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Aggregates, Request
from tidemill_kit.core.errors import TidemillError

FeedbackStore = Aggregates[Feedback]
CurationStore = Aggregates[Curation]
Enqueue = Callable[[CurationRef], None]
"""Notifies the worker that a curation may have something to do."""


class Inferences(Protocol):
    """The inference service."""

    async def answer(self, project: str, inference: str) -> Answer:
        """Return what is known about an inference.

        Raises:
            InferenceUnknown: the project has none with this id.
            DependencyUnavailable: inference does not answer.

        """
        ...

    async def erase(self, project: str, end_user: str, *, validate_only: bool) -> int:
        """Have the records of a person's questions erased, or counted; return how many there were.

        Raises:
            DependencyUnavailable: inference does not answer; a repetition erases what is left.

        """
        ...

    async def prompt(self, project: str, inference: str) -> Prompt:
        """Return what the model saw for an inference.

        Raises:
            NotFound, PreconditionFailed: it is not there, or was not recorded in full.
            DependencyUnavailable: inference does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedEvent:
    """The record that a reaction came in, so that it can become a dead letter as it was."""

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
    """A reaction to an inference that nobody has received of, or that has no answer yet."""

    project: str
    inference: str
    reaction: Reaction
    request: Request
    event: SubmittedEvent
    since: datetime


class Pending(Protocol):
    """Reactions that wait, by inference."""

    async def add(self, waiting: Waiting) -> None:
        """Keep a reaction; one whose request waits already is kept once.

        Raises:
            TooManyWait: as many as may wait for the same inference do.
            PreconditionFailed: the project waits for as many inferences as it may.

        """
        ...

    async def of(self, project: str, inference: str) -> Sequence[Waiting]:
        """Return what waits for an inference, in the order in which it came."""
        ...

    async def since(self, until: datetime, *, limit: int) -> Sequence[tuple[str, str]]:
        """Return project and inference of those for which something has waited since `until` or longer."""
        ...

    async def remove(self, waiting: Waiting) -> None:
        """Let a reaction wait no longer; a repetition changes nothing."""
        ...

    async def forget(self, project: str, end_user: str) -> None:
        """Let nothing wait that names this person."""
        ...


class DeadLetters(Protocol):
    """Where submissions end that can never count."""

    async def put(self, waiting: Waiting, error: TidemillError) -> None:
        """Write the submission to the dead letters, with the reason.

        Raises:
            DependencyUnavailable: Kafka does not take it now.

        """
        ...


class Ledger(Protocol):
    """Rows by life of a curation and feedback. A worker's writes carry its epoch; a later holder's are never undone."""

    async def upsert_desired(self, ref: CurationRef, candidate: CandidateExample) -> bool:
        """Keep what is desired, unless something as new is requested already; return whether it was kept."""
        ...

    async def rows(self, ref: CurationRef) -> Sequence[Row]:
        """Return all rows of a curation."""
        ...

    async def pending(self, ref: CurationRef, *, limit: int) -> Sequence[Row]:
        """Return some of the rows that wait to be resolved, without looking at the others."""
        ...

    async def resolve(self, ref: CurationRef, row: Row, *, epoch: int, chars: int) -> bool:
        """Note that what the row needs is known; False where it needs something else by now, or the epoch is over."""
        ...

    async def fail(self, ref: CurationRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """Note a failed attempt; a final one is not tried again."""
        ...

    async def reopen(self, ref: CurationRef, row: Row, *, epoch: int) -> bool:
        """Have the row resolved again; False where it needs something else by now, or the epoch is over."""
        ...

    async def tag(self, ref: CurationRef, feedback: Sequence[str], *, completion: int, epoch: int) -> bool:
        """Note which rows are in a completion that is about to be; the tags of an earlier try for it are taken off.

        A row keeps the number of an earlier completion that it was in. Returns False where one of them is gone.

        Raises:
            EpochOver: a later holder of the lease was here.

        """
        ...

    async def forget(self, feedback: Sequence[str]) -> None:
        """Remove the rows of feedback that is gone, in all curations."""
        ...

    async def drop(self, ref: CurationRef) -> None:
        """Remove all rows and counts of this incarnation."""
        ...

    async def kept(self) -> Sequence[CurationRef]:
        """Return all lives of curations of which rows or counts are kept."""
        ...

    async def record_counts(self, ref: CurationRef, tally: Tally, *, epoch: int) -> None:
        """Keep how far the curation is, as of the changes that were `seen`."""
        ...

    async def record_listed(self, ref: CurationRef, *, deployments: int, token: str, epoch: int) -> None:
        """Keep how far the corrections of the deployment are requested."""
        ...

    async def record_due(self, ref: CurationRef, due: datetime | None, *, epoch: int) -> None:
        """Keep when the curation is to be reconciled next although nothing changes."""
        ...

    async def tally(self, ref: CurationRef) -> Tally:
        """Return what was last recorded, and how much changed since."""
        ...

    async def pending_curations(self, now: datetime) -> Sequence[CurationRef]:
        """Return the lives in which something changed that is not counted, and those that are due."""
        ...

    async def counts(self, ref: CurationRef) -> Counts:
        """Return what was last recorded."""
        ...


class Prompts(Protocol):
    """Prompts of inferences that were asked for; they never change, and go with whoever asked."""

    async def missing(self, project: str, inferences: Sequence[str]) -> Sequence[str]:
        """Return those of the inferences whose prompt is not kept."""
        ...

    async def keep(self, project: str, inference: str, prompt: Prompt) -> None:
        """Keep a prompt; a repetition changes nothing."""
        ...

    async def get(self, project: str, inferences: Sequence[str]) -> Mapping[str, Prompt]:
        """Return the prompts that are kept, by inference."""
        ...

    async def forget(self, project: str, inferences: Sequence[str]) -> None:
        """Keep the prompts of these inferences no longer."""
        ...


class Batches(Protocol):
    """feedback's exchange bucket."""

    async def put(self, ref: CurationRef, examples: Sequence[Example]) -> tuple[ObjectRef, int]:
        """Store the latest examples that fit as JSON lines, and return how many; the same ones make the same object.

        Raises:
            DependencyUnavailable: the object store does not answer.

        """
        ...


class Curations(Protocol):
    """Every curation of every project that is not deleted, for the worker."""

    async def all(self) -> Sequence[CurationRef]:
        """Return their names."""
        ...


class CurationLeases(Protocol):
    """Who reconciles a curation: one worker at a time."""

    def held(self, ref: CurationRef) -> AbstractAsyncContextManager[int | None]:
        """Hold the curation while the body runs; yields the epoch, or None where another process holds it."""
        ...
