"""Read what a node was derived from, or what was derived from it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tidemill_core.application import Caller
from tidemill_core.errors import Violation
from tidemill_core.resources import refuse
from tidemill_monitor.errors import NotAKind, NothingKnown
from tidemill_monitor.lineage.domain.graph import Edge, Neighbours, Node, Ref
from tidemill_monitor.lineage.domain.kinds import Direction, Kind
from tidemill_monitor.lineage.ports import Graph

FOLDED = ""
"""The id of the node that represents the folded ones of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageLimits:
    """Limits and defaults of one response."""

    depth: int = 8
    max_depth: int = 32
    nodes_of_kind: int = 50
    max_nodes_of_kind: int = 1000
    id_length: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageQuery:
    """The request; 0 means the default, direction is required."""

    kind: str
    id: str
    direction: Direction | None = None
    depth: int = 0
    nodes_of_kind: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A part of the graph: the thing first, then in the order of steps. `folded` counts what is not shown, by kind."""

    nodes: Sequence[Node]
    folded: Counter[Kind]
    edges: Sequence[Edge]
    cut: bool


@dataclass(slots=True)
class _Walk:
    """What a walk has met so far."""

    limit: int
    shown: dict[Ref, None] = field(default_factory=dict)
    of_kind: Counter[Kind] = field(default_factory=Counter)
    edges: dict[Edge, None] = field(default_factory=dict)
    hidden: defaultdict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    unlisted: Counter[Kind] = field(default_factory=Counter)

    def show(self, ref: Ref) -> None:
        self.shown[ref] = None
        self.of_kind[ref.kind] += 1

    def take(self, found: Neighbours) -> list[Ref]:
        """Take neighbours in; return those that are shown for the first time."""
        fresh: list[Ref] = []
        for other in found.ids:
            ref = Ref(found.kind, other)
            if ref not in self.shown and self.of_kind[ref.kind] < self.limit:
                self.show(ref)
                fresh.append(ref)
            if ref in self.shown:
                self.edges[found.edge_to(other)] = None
            else:
                self.hidden[ref.kind].add(other)
                self.edges[found.edge_to(FOLDED)] = None
        if (more := found.count - len(found.ids)) > 0:
            self.unlisted[found.kind] += more
            self.edges[found.edge_to(FOLDED)] = None
        return fresh

    @property
    def folded(self) -> Counter[Kind]:
        """How many things of each kind are not shown; one that several hubs lead to may count for each of them."""
        return Counter({kind: len(ids) for kind, ids in self.hidden.items()}) + self.unlisted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLineage:
    """Traverses the graph, nearest first. Folded nodes are not traversed, so reads are bounded."""

    graph: Graph
    limits: LineageLimits

    async def __call__(self, caller: Caller, query: LineageQuery) -> Lineage:
        """Return the part of the graph that is asked for.

        Raises:
            InvalidInput: kind, id, direction or a limit is not usable.
            NothingKnown: the graph has no such node.

        """
        start, direction = self._checked(query)
        walk = _Walk(query.nodes_of_kind or self.limits.nodes_of_kind)
        walk.show(start)
        frontier = [start]
        for _ in range(query.depth or self.limits.depth):
            found = await self.graph.neighbours(caller.project, frontier, direction, limit=walk.limit)
            frontier = [ref for each in found for ref in walk.take(each)]
            if not frontier:
                break
        cut = bool(walk.folded) or await self._goes_on(caller, frontier, direction, walk)
        known = await self.graph.nodes(caller.project, walk.shown)
        if start not in known and not walk.edges and not await self._is_named(caller, start):
            raise NothingKnown(start.kind, start.id)
        nodes = [known.get(ref) or Node(ref=ref) for ref in walk.shown]
        return Lineage(nodes=nodes, folded=walk.folded, edges=tuple(walk.edges), cut=cut)

    async def _goes_on(self, caller: Caller, frontier: list[Ref], direction: Direction, walk: _Walk) -> bool:
        """Return whether depth limited the result."""
        if not frontier:
            return False
        beyond = await self.graph.neighbours(caller.project, frontier, direction, limit=walk.limit)
        return any(Ref(each.kind, other) not in walk.shown for each in beyond for other in each.ids)

    async def _is_named(self, caller: Caller, ref: Ref) -> bool:
        """Return whether a node without facts has successors."""
        return bool(await self.graph.neighbours(caller.project, [ref], Direction.FORWARD, limit=1))

    def _checked(self, query: LineageQuery) -> tuple[Ref, Direction]:
        if query.kind not in set(Kind):
            raise NotAKind(query.kind, known=Kind)
        refuse(self._violations(query))
        return Ref(Kind(query.kind), query.id), query.direction or Direction.BACK

    def _violations(self, query: LineageQuery) -> Iterator[Violation]:
        limits = self.limits
        yield from _outside("depth", query.depth, limits.max_depth, limits.depth)
        yield from _outside("nodes_of_kind", query.nodes_of_kind, limits.max_nodes_of_kind, limits.nodes_of_kind)
        if not 1 <= len(query.id) <= limits.id_length:
            yield Violation("id", f"has {len(query.id)} characters: send 1 to {limits.id_length}")
        if query.direction is None:
            yield Violation("direction", "must be back or forward")


def _outside(name: str, value: int, maximum: int, default: int) -> Iterator[Violation]:
    if not 0 <= value <= maximum:
        yield Violation(name, f"is {value}; send 0 (for {default}) to {maximum}")
