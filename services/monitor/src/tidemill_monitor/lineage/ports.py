"""The port to the lineage graph."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_monitor.lineage.domain.graph import Neighbours, Node, NodeUpdate, Ref
from tidemill_monitor.lineage.domain.kinds import Direction, Kind, Relation


class Erased(Protocol):
    """The erasures of documents that this service has carried out."""

    async def __call__(self, project: str, documents: Collection[str], /) -> Mapping[str, datetime]:
        """Return until when what came of a document is erased, of those that were."""
        ...


class Graph(Protocol):
    """The lineage graph of all projects. Writes are idempotent and independent of their order."""

    async def record(self, project: str, updates: Sequence[NodeUpdate]) -> Counter[Kind]:
        """Add nodes and edges; return the number of new nodes by kind."""
        ...

    async def record_examples(self, project: str, curation: str, feedback: Sequence[str]) -> None:
        """Add the edges from a curation's completion to its feedback: all of it, in a fixed order."""
        ...

    async def nodes(self, project: str, refs: Collection[Ref]) -> Mapping[Ref, Node]:
        """Return the nodes that have facts."""
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
        """Return the neighbours of each node, at most `limit` per relation, in a fixed order."""
        ...

    async def inferences_before(self, moment: datetime, *, limit: int) -> Sequence[tuple[str, Ref]]:
        """Return project and reference of some older answers that are not marked to keep."""
        ...

    async def keep(self, project: str, ref: Ref) -> None:
        """Never return an answer from `inferences_before` again."""
        ...

    async def forget(self, project: str, ref: Ref) -> None:
        """Delete a node and its edges to predecessors."""
        ...

    async def counts(self) -> Mapping[Kind, int]:
        """Return the stored number of nodes of all projects by kind."""
        ...
