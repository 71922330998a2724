"""What the lists of a thing's neighbours are called in MongoDB."""

import hashlib
from dataclasses import dataclass

from tidemill_monitor.lineage.domain.graph import Ref
from tidemill_monitor.lineage.domain.kinds import Direction, Relation

_SLOTS_OF_HUB = 16
_MARK = {Direction.FORWARD: ">", Direction.BACK: "<"}


@dataclass(frozen=True, slots=True)
class End:
    """One end of edges: a thing, and one relation in one direction."""

    project: str
    ref: Ref
    relation: Relation
    direction: Direction

    @property
    def hub(self) -> bool:
        """Return whether there may be very many."""
        return self.relation.hub and self.direction is Direction.FORWARD

    @property
    def slots(self) -> int:
        """Over how many slots its edges are spread; never changed, or edges would be written twice."""
        return _SLOTS_OF_HUB if self.hub else 1

    def slot_of(self, other: str) -> str:
        """Return the slot of a neighbour."""
        number = hashlib.sha256(other.encode()).digest()[0] % self.slots
        return self.slot(number)

    def slot(self, number: int) -> str:
        """Return what the `_id` of the slot's lists begins with."""
        name = f"{_MARK[self.direction]}{self.relation.name}"
        return f"{self.project}/{self.ref.kind}/{self.ref.id}/{name}/{number}"
