"""Ports of reviews."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_feedback.reviews.domain.agreement import Units
from tidemill_feedback.reviews.domain.item import ItemState, ReviewItem
from tidemill_feedback.reviews.domain.queue import EndedQueue, ReviewQueue
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer

ReviewQueueStore = Aggregates[ReviewQueue]
ReviewItemStore = Aggregates[ReviewItem]
Enqueue = Callable[[EndedQueue], None]
"""Enqueues a deleted queue, whose items are to be removed."""


class SampledQueues(Protocol):
    """The queues that sample answers, as they were at most some seconds ago."""

    async def of(self, project: str, deployment: str) -> Sequence[ReviewQueue]:
        """Return the queues that sample a deployment."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCounts:
    """How many items a queue has, by their state, without gold ones; and gold ones."""

    by_state: Mapping[ItemState, int]
    gold: int


class OpenItems(Protocol):
    """Counts the open items of an incarnation of a queue (`ReviewQueue.key`) by an index."""

    async def open(self, project: str, key: str, *, limit: int, stratum: str = "") -> int:
        """Return how many items are open, gold ones aside, counting no further than `limit`."""
        ...


class Items(OpenItems, Protocol):
    """Finds items of an incarnation of a queue (`ReviewQueue.key`), each by an index."""

    async def claimed(self, project: str, key: str, reviewer: str) -> Sequence[str]:
        """Return the open items that a reviewer has claimed, also some time ago."""
        ...

    async def free(  # noqa: PLR0913 - whose next items, of which
        self, project: str, key: str, reviewer: str, *, start: float, gold: bool, now: datetime, limit: int
    ) -> Sequence[str]:
        """Return open items in the order of the ring from `start`: free ones that a reviewer has not seen or asked."""
        ...

    async def counts(self, project: str, key: str) -> ItemCounts:
        """Return how many items there are."""
        ...

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[str]:
        """Return items about what an end user asked."""
        ...

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[str]:
        """Return items about a document, or about what has passages of it."""
        ...

    async def naming(self, project: str, reviewer: str, *, limit: int) -> Sequence[str]:
        """Return items that name a person for what they did."""
        ...

    async def old(self, project: str, *, before: datetime, limit: int) -> Sequence[str]:
        """Return items that were added earlier and have not changed since."""
        ...

    async def resolved(self, ended: EndedQueue) -> Sequence[str]:
        """Return some items of a deleted queue that are resolved."""
        ...

    async def drop(self, ended: EndedQueue) -> int:
        """Delete some items of a deleted queue that are not resolved; return how many, 0 when none is left.

        Raises:
            Conflict: what is left has events that are not published yet.

        """
        ...


class Answers(Protocol):
    """The inference service."""

    async def read(self, caller: Caller, inference: str) -> RecordedAnswer:
        """Return what is known of an answer.

        Raises:
            InferenceUnknown: the project has none with this id.
            InferenceUnanswered: it is not completed.
            DependencyUnavailable: inference does not answer.

        """
        ...


class Erased(Protocol):
    """The erasures that this service has carried out, or is about to."""

    async def __call__(self, project: str, end_user: str, documents: Collection[str], /) -> datetime | None:
        """Return until when what came of any of these is erased; None where none was."""
        ...


class Kappa(Protocol):
    """Cohen's and Fleiss' kappa of what reviewers say of a field."""

    def cohen(self, units: Units) -> float | None:
        """Return the mean over pairs of reviewers; None where it is not defined."""
        ...

    def fleiss(self, units: Units, *, raters: int) -> float | None:
        """Return it over the items with as many values; None where it is not defined."""
        ...
