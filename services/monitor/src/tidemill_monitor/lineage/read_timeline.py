"""Read the timeline of a deployment, from the examples to the promotion."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_monitor.errors import DeploymentUnknown, RolloutUnknown
from tidemill_monitor.lineage.domain.graph import Edge, Node, Part, Ref
from tidemill_monitor.lineage.domain.kinds import (
    ALLOWED,
    COMPARED,
    CURATED,
    EVALUATED,
    PUBLISHED_AS,
    REGISTERED,
    ROLLED_OUT,
    ROLLS_OUT,
    TRAINED_ON,
    Direction,
    Kind,
    Relation,
)
from tidemill_monitor.lineage.ports import Graph

_OF_DEPLOYMENT = frozenset({CURATED, COMPARED, ROLLS_OUT, PUBLISHED_AS, TRAINED_ON, REGISTERED})
_OF_ROLLOUT = frozenset({ALLOWED, ROLLED_OUT, EVALUATED, REGISTERED, TRAINED_ON, PUBLISHED_AS})
_STEPS = 8
"""More than either chain is long."""
_WALKED = 10
"""Nodes read per returned entry: neighbours are ordered by id, and the newest are chosen among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Oldest first. `cut`: entries are missing, the oldest, or any if there are more nodes than are read."""

    entries: Sequence[Part]
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTimeline:
    """The timeline is not stored: it is read from the facts of the nodes that belong to it."""

    graph: Graph
    max_entries: int

    async def __call__(self, caller: Caller, deployment: str, rollout: str = "") -> Timeline:
        """Return what happened, of one rollout or of everything that the deployment saw.

        Raises:
            DeploymentUnknown: the graph has no such deployment.
            RolloutUnknown: the deployment has none with this id.

        """
        start = Ref(Kind.DEPLOYMENT, deployment)
        known = await self.graph.nodes(caller.project, [start])
        if rollout:
            of_rollout, cut = await self._of_rollout(caller, deployment, rollout)
            configurations = {part.facts.get("configuration") for node in of_rollout for part in node.parts}
            live = [part for node in known.values() for part in node.parts]
            cut = cut or len(live) > self.max_entries
            parts = [part for part in live if part.facts.get("configuration") in configurations - {None}]
            parts += [part for node in of_rollout for part in node.parts]
        else:
            others, cut = await self._walked(caller, start, Direction.FORWARD, _OF_DEPLOYMENT)
            if not known and not others:
                raise DeploymentUnknown(deployment)
            parts = [part for node in [*known.values(), *others] for part in node.parts]
        updates = sorted((part for part in parts if part.message), key=lambda part: part.place)
        return Timeline(entries=updates[-self.max_entries :], cut=cut or len(updates) > self.max_entries)

    async def _of_rollout(self, caller: Caller, deployment: str, rollout: str) -> tuple[list[Node], bool]:
        ref = Ref(Kind.ROLLOUT, rollout)
        node = (await self.graph.nodes(caller.project, [ref])).get(ref)
        if node is None or Edge(ROLLS_OUT, deployment, rollout) not in node.sources:
            raise RolloutUnknown(rollout, deployment)
        came_from, cut = await self._walked(caller, ref, Direction.BACK, _OF_ROLLOUT)
        return [node, *came_from], cut

    async def _walked(
        self, caller: Caller, start: Ref, direction: Direction, only: Collection[Relation]
    ) -> tuple[list[Node], bool]:
        """Return what is reached by these relations, and whether there was too much of it."""
        maximum = _WALKED * self.max_entries
        met, frontier, cut = {start}, [start], False
        for _ in range(_STEPS):
            found = await self.graph.neighbours(caller.project, frontier, direction, limit=maximum, only=only)
            near = dict.fromkeys(Ref(each.kind, other) for each in found for other in each.ids)
            fresh = [ref for ref in near if ref not in met]
            frontier = fresh[: maximum - len(met)]
            cut = cut or len(frontier) < len(fresh) or any(each.count > len(each.ids) for each in found)
            if not frontier:
                break
            met.update(frontier)
        nodes = await self.graph.nodes(caller.project, met - {start})
        return [nodes[ref] for ref in sorted(nodes)], cut
