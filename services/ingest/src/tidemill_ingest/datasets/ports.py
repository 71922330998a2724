"""What datasets need from outside."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.example import CitedPassage, Example
from tidemill_ingest.datasets.domain.label_rules import QueueField
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.datasets.domain.version import Batch

Datasets = Aggregates[Dataset]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """One object in the datasets' bucket."""

    key: str
    stored_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOfPart:
    """The JSON lines of a part without some of its examples, and how many those were."""

    lines: bytes
    examples: int
    erased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedSubject:
    """Whose examples are erased: those that show a document, or that an end user has asked or written."""

    document: str = ""
    end_user: str = ""


class DatasetLease(Protocol):
    """The right to work on one dataset."""

    @property
    def epoch(self) -> int:
        """Higher with each holder: what an earlier one writes is refused."""
        ...


class DatasetLeases(Protocol):
    """The leases that workers make versions of datasets under."""

    def held(self, job_id: str, /) -> AbstractAsyncContextManager[DatasetLease | None]:
        """Hold the lease while the body runs; yields None if a worker holds it."""
        ...


class ErasedUsers(Protocol):
    """The erasures of end users that this service has carried out."""

    async def __call__(self, project: str, end_users: Collection[str], /) -> Mapping[str, datetime]:
        """Return until when what came of a user is erased, of those that were."""
        ...


Restricted = Callable[[Caller, AbstractSet[CitedPassage]], Awaitable[AbstractSet[CitedPassage]]]
"""Returns which versions of documents a caller may not read, of the project's."""


ANY_FIELDS: Mapping[str, QueueField] = {}
"""Of a review queue whose fields are not known: no rule about it is refused."""


class ReviewQueues(Protocol):
    """The review queues of feedback."""

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, QueueField] | None:
        """Return the fields of a queue by name, ANY_FIELDS where they cannot be known, and None if there is no queue.

        Raises:
            DependencyUnavailable: feedback does not answer.

        """
        ...


class Batches(Protocol):
    """What curations offer, in feedback's exchange bucket."""

    def check(self, project: str, batch: Batch) -> None:
        """Refuse a reference that will never be followed.

        Raises:
            InvalidInput: it leads elsewhere, or to more than is taken.

        """
        ...

    async def read(self, batch: Batch) -> Sequence[Example]:
        """Return the examples, their bytes verified.

        Raises:
            BatchUnusable: it is gone or damaged, or is not what the contract says.

        """
        ...


class Parts(Protocol):
    """Parts of versions: immutable objects in a bucket of their own."""

    async def put_part(self, name: ResourceKey, lines: bytes) -> ObjectRef:
        """Store a part, whether it is there already or not."""
        ...

    async def split(self, ref: ObjectRef) -> Split:
        """Return an assignment of all groups from when it was one object."""
        ...

    async def lines(self, ref: ObjectRef) -> bytes:
        """Return the bytes of a part, verified.

        Raises:
            NotFound: it is not there any more.

        """
        ...

    async def examples(self, ref: ObjectRef) -> Sequence[Example]:
        """Return the examples of a part; raises as `lines` does."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete them; what is not there is no error."""
        ...

    async def of_dataset(self, name: ResourceKey) -> Sequence[StoredPart]:
        """Return the objects of one dataset."""
        ...

    async def datasets_of(self, project: str) -> Sequence[ResourceKey]:
        """Return the datasets of a project that have objects."""
        ...

    async def left_without(self, key: str, subject: ErasedSubject) -> LeftOfPart | None:
        """Return what is left of an object without the examples of a subject; None where it has none."""
        ...


class Groups(Protocol):
    """Which part each group of a dataset belongs to: kept for ever, and read for the groups of an offer alone."""

    async def assigned(self, name: ResourceKey, groups: Sequence[str], *, but_by: str = "") -> Mapping[str, bool]:
        """Return by group whether it is held out, of those that are assigned, except by the offer `but_by`."""
        ...

    async def assign(self, name: ResourceKey, groups: Mapping[str, bool], *, offer: str) -> bool:
        """Assign groups for an offer; what is assigned stays. Return False where one is assigned otherwise."""
        ...


class ExampleMasking(Protocol):
    """Masks examples. CPU work: it never runs on the event loop."""

    async def mask_examples(self, project: str, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples with everything masked; one that takes too much work is left out."""
        ...
