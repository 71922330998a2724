"""Maps events to the graph. Each consumed type is a dataclass of the fields that are used."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_monitor.domain.graph import Edge, NodeUpdate, Part, Ref
from tidemill_monitor.domain.kinds import Kind, Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMeta:
    """What every event has: its ce_type and its time."""

    type: str
    time: datetime

    @property
    def name(self) -> str:
        """The last words of the type: "version_published"."""
        return self.type.split(".")[-2]

    def part(self, seq: int, message: str = "", **facts: object) -> Part:
        """Return what this event says of a thing for ever: each event is a part of its own."""
        return self._part(f"{self.name}_{seq}", seq, message, facts)

    def state(self, seq: int, **facts: object) -> Part:
        """Return what this event says of a thing until a later event says otherwise."""
        return self._part("state", seq, "", facts)

    def _part(self, key: str, seq: int, message: str, facts: dict[str, object]) -> Part:
        updates = {name: text for name, value in facts.items() if (text := spelled(value))}
        return Part(key=key, event=self.type, seq=seq, time=self.time, facts=updates, message=message)


class EventBody(Protocol):
    """The body of an event."""

    def updates(self, meta: EventMeta, /) -> tuple[NodeUpdate, ...]:
        """Return the nodes and edges that the event adds to the graph."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """An event that is counted and adds nothing to the history."""

    def updates(self, _happened: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return nothing."""
        return ()


def spelled(value: object) -> str:
    """Return a fact as text; unknown ones are empty, and left out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def sources_of(target: Ref, *sources: tuple[Relation, str]) -> tuple[Edge, ...]:
    """Return edges from those sources that have an id."""
    return tuple(Edge(relation, source, target.id) for relation, source in sources if source)


def version_id(name: str, number: int) -> str:
    """Return the id of a version."""
    return f"{name}@{number}"


def curation_ref(curation: str, seq: int) -> Ref:
    """Return the node of one completion of a curation."""
    return Ref(Kind.CURATION, version_id(curation, seq))
