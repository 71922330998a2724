"""Fakes that pass the same contract suites as their adapters, and monitor put together on them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.monitor.tests.story import Event, Story
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import TidemillError
from tidemill_kit.workers.leases import LeaseLost
from tidemill_monitor.events.feedback import CurationCompleted
from tidemill_monitor.examples.domain import Batch, ExampleIds
from tidemill_monitor.examples.link_examples import LinkExamples
from tidemill_monitor.examples.request_batch import RequestBatch
from tidemill_monitor.lineage.domain.graph import Edge, Neighbours, Node, NodeUpdate, Part, Ref, dispensable
from tidemill_monitor.lineage.domain.kinds import EXAMPLE_OF, Direction, Kind, Relation
from tidemill_monitor.lineage.read_lineage import Lineage, LineageLimits, LineageQuery, ReadLineage
from tidemill_monitor.lineage.read_timeline import ReadTimeline, Timeline
from tidemill_monitor.lineage.record_event import RecordEvent
from tidemill_monitor.lineage.sweep_inferences import SweepInferences
from tidemill_testkit.clocks import FixedClock

ACME = Caller(project="acme")


class InMemoryGraph:
    """Implements `ports.Graph`."""

    def __init__(self, *, max_parts: int = 1001) -> None:
        self._max_parts = max_parts
        self._parts: dict[tuple[str, Ref], dict[str, Part]] = {}
        self._times: dict[tuple[str, Ref], datetime] = {}
        self._edges: dict[str, dict[Edge, None]] = defaultdict(dict)
        self._examples: dict[tuple[str, str], list[str]] = {}
        self._kept: set[tuple[str, Ref]] = set()
        self.calls: list[int] = []
        """How many things each question was about."""

    async def record(self, project: str, updates: Sequence[NodeUpdate]) -> Counter[Kind]:
        new: Counter[Kind] = Counter()
        for each in updates:
            key = project, each.ref
            if key not in self._parts:
                new[each.ref.kind] += 1
            parts = self._parts.setdefault(key, {})
            if each.part is not None:
                stored = parts.get(each.part.key)
                if stored is None or stored.seq <= each.part.seq:
                    parts[each.part.key] = each.part
                for name in dispensable(parts.values(), maximum=self._max_parts):
                    del parts[name]
                self._times[key] = min(self._times.get(key, each.part.time), each.part.time)
            self._edges[project].update(dict.fromkeys(each.sources))
        return new

    async def record_examples(self, project: str, curation: str, feedback: Sequence[str]) -> None:
        self._examples[project, curation] = sorted(set(feedback))

    async def nodes(self, project: str, refs: Collection[Ref]) -> Mapping[Ref, Node]:
        return {ref: self._node(project, ref) for ref in refs if (project, ref) in self._parts}

    async def neighbours(
        self,
        project: str,
        refs: Collection[Ref],
        direction: Direction,
        *,
        limit: int,
        only: Collection[Relation] | None = None,
    ) -> Sequence[Neighbours]:
        self.calls.append(len(refs))
        forward, found = direction is Direction.FORWARD, []
        for ref in refs:
            others: dict[Relation, set[str]] = defaultdict(set)
            for edge in self._all(project):
                source, target = edge.ends
                if ref == (source if forward else target):
                    others[edge.relation].add((target if forward else source).id)
            found += [
                Neighbours(
                    ref=ref, relation=relation, direction=direction, ids=tuple(sorted(ids)[:limit]), count=len(ids)
                )
                for relation, ids in sorted(others.items(), key=lambda item: item[0].name)
                if only is None or relation in only
            ]
        return found

    async def inferences_before(self, moment: datetime, *, limit: int) -> Sequence[tuple[str, Ref]]:
        old = [(project, ref) for (project, ref), time in self._times.items() if time < moment]
        return [place for place in old if place[1].kind is Kind.INFERENCE and place not in self._kept][:limit]

    async def keep(self, project: str, ref: Ref) -> None:
        self._kept.add((project, ref))

    async def forget(self, project: str, ref: Ref) -> None:
        self._parts.pop((project, ref), None)
        self._times.pop((project, ref), None)
        for edge in [edge for edge in self._edges[project] if edge.ends[1] == ref]:
            del self._edges[project][edge]

    async def counts(self) -> Mapping[Kind, int]:
        counted = Counter(ref.kind for _, ref in self._parts)
        return {kind: counted[kind] for kind in Kind}

    def _node(self, project: str, ref: Ref) -> Node:
        parts = self._parts[project, ref]
        sources = [edge for edge in self._edges[project] if edge.ends[1] == ref]
        return Node(
            ref=ref,
            time=self._times.get((project, ref)),
            parts=tuple(parts[key] for key in sorted(parts)),
            sources=tuple(sorted(sources, key=lambda edge: (edge.relation.name, edge.source))),
        )

    def _all(self, project: str) -> list[Edge]:
        examples = [
            Edge(EXAMPLE_OF, feedback, curation)
            for (owner, curation), all_of_it in self._examples.items()
            if owner == project
            for feedback in all_of_it
        ]
        return [*self._edges[project], *examples]


class InMemoryBatches:
    """Implements `ports.Batches`."""

    def __init__(self) -> None:
        self.recorded: dict[ResourceKey, Batch] = {}
        self.finished: dict[ResourceKey, str] = {}
        self.epochs: Counter[ResourceKey] = Counter()
        """Of the leases as they are now; a later holder counts one up."""

    async def add_pending(self, batch: Batch) -> bool:
        news = batch.key not in self.recorded
        self.recorded.setdefault(batch.key, batch)
        return news

    async def pending(self, key: ResourceKey) -> Batch | None:
        return None if key in self.finished else self.recorded.get(key)

    async def finish(self, key: ResourceKey, *, epoch: int, reason: str) -> None:
        if self.epochs[key] != epoch:
            raise LeaseLost(key.key)
        self.finished[key] = reason

    def unfinished(self) -> list[ResourceKey]:
        return [name for name in self.recorded if name not in self.finished]


@dataclass(slots=True)
class FakeExamples:
    """Implements `ports.Examples`."""

    by_key: dict[str, Sequence[ExampleIds]] = field(default_factory=dict)
    failure: TidemillError | None = None

    async def read(self, batch: Batch) -> Sequence[ExampleIds]:
        if self.failure is not None:
            raise self.failure
        return self.by_key[batch.object.key]


class Monitor:
    """Monitor without its entry points."""

    def __init__(self, *, limits: LineageLimits | None = None, max_entries: int = 1000) -> None:
        self.graph = InMemoryGraph(max_parts=max_entries + 1)
        self.batches = InMemoryBatches()
        self.examples = FakeExamples()
        self.clock = FixedClock()
        self.enqueued: list[ResourceKey] = []
        self.erased_until: dict[str, datetime] = {}
        self.record = RecordEvent(graph=self.graph, erased=self._erased)
        self.request = RequestBatch(batches=self.batches, enqueue=self.enqueued.append)
        self.link = LinkExamples(batches=self.batches, examples=self.examples, graph=self.graph)
        self.read = ReadLineage(graph=self.graph, limits=limits or LineageLimits())
        self.timeline = ReadTimeline(graph=self.graph, max_entries=max_entries)

    async def _erased(self, _: str, documents: Collection[str]) -> Mapping[str, datetime]:
        return {each: moment for each, moment in self.erased_until.items() if each in documents}

    async def consume(self, *stories: Story, project: str = "acme") -> None:
        """Have everything happen, and batches read."""
        for story in stories:
            for event in story.events:
                await self.handle(event, project=project)
            self.examples.by_key |= story.batches
        await self.link_all()

    async def handle(self, event: Event, *, project: str = "acme") -> None:
        """Have all projections that store something handle an event."""
        caller = Caller(project=project)
        await self.record(caller, event.meta, event.body)
        if isinstance(event.body, CurationCompleted):
            await self.request(caller, event.meta, event.body)

    async def link_all(self) -> None:
        """Read what waits, as the holder of each lease."""
        for name in self.batches.unfinished():
            await self.link(name, epoch=self.batches.epochs[name])

    async def lineage(self, kind: str, name: str, direction: str = "back", /, **asked: int) -> Lineage:
        return await self.read(ACME, LineageQuery(kind=kind, id=name, direction=Direction(direction), **asked))

    async def story_of(self, deployment: str, rollout: str = "") -> Timeline:
        return await self.timeline(ACME, deployment, rollout)

    async def sweep(self, *, days: int) -> int:
        return await SweepInferences(graph=self.graph, clock=self.clock, keep=timedelta(days=days))()


def shown_ids(lineage: Lineage) -> dict[str, list[str]]:
    """Return the ids that are shown, by kind."""
    found: dict[str, list[str]] = defaultdict(list)
    for node in lineage.nodes:
        found[node.ref.kind.value].append(node.ref.id)
    return {kind: sorted(ids) for kind, ids in found.items()}


def words(lineage: Lineage) -> set[tuple[str, str, str]]:
    """Return the edges in words."""
    return {(edge.source, edge.relation.name, edge.target) for edge in lineage.edges}
