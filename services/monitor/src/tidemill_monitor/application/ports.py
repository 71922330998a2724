"""What the use cases need from outside."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_monitor.domain.graph import Batch, ExampleIds, Neighbours, Node, NodeUpdate, Ref
from tidemill_monitor.domain.kinds import Direction, Kind, Relation


class Graph(Protocol):
    """The history of every project. Whatever is written twice, or in another order, is the same history."""

    async def record(self, project: str, updates: Sequence[NodeUpdate]) -> Counter[Kind]:
        """Add to the history; return how many things of each kind nobody had reported before."""
        ...

    async def record_examples(self, project: str, curation: str, feedback: Sequence[str]) -> None:
        """Say which reactions a completion of a curation is made of: all of them, always in the same order."""
        ...

    async def nodes(self, project: str, refs: Collection[Ref]) -> Mapping[Ref, Node]:
        """Return those things that an event reported."""
        ...

    async def neighbours(
        self,
        project: str,
        refs: Collection[Ref],
        direction: Direction,
        *,
        limit: int,
        only: Collection[Relation] | None = None,
    ) -> Sequence[Neighbours]:
        """Return what lies one step from each of the things, at most `limit` by each relation, in a fixed order."""
        ...

    async def inferences_before(self, moment: datetime, *, limit: int) -> Sequence[tuple[str, Ref]]:
        """Return project and name of some answers from before that are neither forgotten nor kept."""
        ...

    async def keep(self, project: str, ref: Ref) -> None:
        """Never return an answer from `inferences_before` again."""
        ...

    async def forget(self, project: str, ref: Ref) -> None:
        """Take a thing and its edges to what it came from out of the history."""
        ...

    async def counts(self) -> Mapping[Kind, int]:
        """Return how many things of all projects there are by kind, as it was kept with each of them."""
        ...


@dataclass(frozen=True, slots=True)
class BatchName:
    """Names the batch of one completion of a curation."""

    project: str
    curation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBatch:
    """A batch under a lease."""

    batch: Batch
    epoch: int


class Batches(Protocol):
    """Batches of examples that are to be read: the work list of a leased worker."""

    async def add_pending(self, batch: Batch) -> bool:
        """Have the batch read, once; return whether that is news."""
        ...

    async def waiting(self, *, without: Collection[str] = ()) -> Sequence[BatchName]:
        """Return some of those that are not finished, of other projects than those in `without`."""
        ...

    def held(self, name: BatchName) -> AbstractAsyncContextManager[HeldBatch | None]:
        """Hold a batch while the body runs; yields None if another process does, or it is finished.

        Raises:
            BatchLost: the lease was lost meanwhile.

        """
        ...

    async def finish(self, held: HeldBatch, *, reason: str) -> None:
        """Note that the batch was read, or why it never will be.

        Raises:
            BatchLost: a later holder has it.

        """
        ...


class Examples(Protocol):
    """The examples in feedback's exchange bucket."""

    async def read(self, batch: Batch) -> Sequence[ExampleIds]:
        """Return the ids of the batch's examples, in order; their text is left where it is.

        Raises:
            NotFound: they were erased.
            BatchUnusable: they are not what a batch is, or too large.
            PermissionDenied: the reference leads elsewhere.

        """
        ...
