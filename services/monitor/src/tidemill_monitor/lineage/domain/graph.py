"""The graph of where everything came from: pure values, each write of which may be repeated and come in any order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tidemill_monitor.lineage.domain.kinds import Direction, Kind, Relation

STATE = "state"
"""The key of what is said of a thing until a later event says otherwise."""
PLAIN = frozenset({"state", "version"})
"""Facts of documents that say nothing of what is in them, or how users named them."""

_SHORT_ID = 8
_UUID_LENGTH = 36

_NAMES = {
    Kind.DOCUMENT: "document",
    Kind.INFERENCE: "answer",
    Kind.FEEDBACK: "reaction",
    Kind.TRAINING_RUN: "training",
    Kind.EVALUATION: "evaluation",
    Kind.ROLLOUT: "rollout",
    Kind.RETRIEVAL_EVALUATION: "retrieval evaluation",
    Kind.HARNESS_RUN: "harness run",
}
"""What people call things whose ids say nothing."""

Fact = str | int | float | bool | Mapping[str, Any]
"""A mapping has numbers that belong together: `training.text_of` says them in words."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names one thing of a project."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Edge:
    """Says that the target came from the source."""

    relation: Relation
    source: str
    target: str

    @property
    def ends(self) -> tuple[Ref, Ref]:
        """The source and the target."""
        return Ref(self.relation.source, self.source), Ref(self.relation.target, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one event said of a thing. Of parts with the same `key` the one with the highest `seq` counts.

    `message` is for the time line; a part without one is not in it.
    """

    key: str
    event: str
    seq: int
    time: datetime
    facts: Mapping[str, Fact] = field(default_factory=dict)
    message: str = ""

    @property
    def place(self) -> tuple[datetime, int, str]:
        """Its place among the parts of a thing, and in the time line."""
        return self.time, self.seq, self.key


def dispensable(parts: Iterable[Part], *, maximum: int) -> list[str]:
    """Return the keys of the oldest parts beyond a number; what is the state of the thing is none of them.

    They are the same in whatever order the parts came, and with whichever of them were left out before.
    """
    of_events = sorted((part for part in parts if part.key != STATE), key=lambda part: part.place)
    return [part.key for part in of_events[: max(0, len(of_events) - maximum)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUpdate:
    """What is added to one thing: a part, or only where it came from."""

    ref: Ref
    part: Part | None = None
    sources: tuple[Edge, ...] = ()

    @property
    def names(self) -> str:
        """The document whose names are among the facts; "" where there are none."""
        if self.part is None or self.part.facts.keys() <= PLAIN:
            return ""
        if self.ref.kind is Kind.DOCUMENT:
            return self.ref.id
        return self.ref.id.rpartition("@")[0] if self.ref.kind is Kind.DOCUMENT_VERSION else ""

    def without_names(self) -> "NodeUpdate":
        """Return what is stored of an erased document."""
        if self.part is None:
            return self
        facts = {name: fact for name, fact in self.part.facts.items() if name in PLAIN}
        return replace(self, part=replace(self.part, facts=facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing as it is known. One that only others have named has no parts and no time."""

    ref: Ref
    time: datetime | None = None
    parts: tuple[Part, ...] = ()
    sources: tuple[Edge, ...] = ()

    @property
    def facts(self) -> dict[str, Fact]:
        """What is known: where two parts say the same fact, the later one."""
        merged: dict[str, Fact] = {}
        for part in sorted(self.parts, key=lambda part: part.place):
            merged |= part.facts
        return merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What lies one step from a thing by one relation: some of it by id, in order, and how much it is in all."""

    ref: Ref
    relation: Relation
    direction: Direction
    ids: tuple[str, ...]
    count: int

    @property
    def kind(self) -> Kind:
        """The kind of the neighbours."""
        return self.relation.target if self.direction is Direction.FORWARD else self.relation.source

    def edge_to(self, other: str) -> Edge:
        """Return the edge between the thing and a neighbour."""
        if self.direction is Direction.FORWARD:
            return Edge(self.relation, self.ref.id, other)
        return Edge(self.relation, other, self.ref.id)


def label_of(ref: Ref) -> str:
    """Return a short name for people: a declared id as it is, a derived one by its beginning."""
    if len(ref.id) < _UUID_LENGTH:
        return ref.id
    number = ref.id[_UUID_LENGTH:] if ref.id[_UUID_LENGTH : _UUID_LENGTH + 1] == "@" else ""
    name = _NAMES.get(ref.kind, ref.kind.value.replace("_", " "))
    return f"{name} {ref.id[:_SHORT_ID]}{number}"
