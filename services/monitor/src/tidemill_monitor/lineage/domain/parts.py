"""What events add to the graph, as a function of their type; a type that is not registered adds nothing."""

from collections.abc import Mapping
from functools import singledispatch

from tidemill_monitor.events.meta import EventMeta, version_id
from tidemill_monitor.lineage.domain.graph import Edge, Fact, NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import Kind, Relation

Updates = tuple[NodeUpdate, ...]


@singledispatch
def updates_of(_event: object, _meta: EventMeta) -> Updates:
    """Return the nodes and edges that an event adds to the graph."""
    return ()


def event_part(meta: EventMeta, seq: int, message: str = "", **facts: Fact | None) -> Part:
    """Return what this event says of a thing for ever: each event is a part of its own."""
    return _part(meta, f"{meta.name}_{seq}", seq, message, facts)


def state_part(meta: EventMeta, seq: int, **facts: Fact | None) -> Part:
    """Return what this event says of a thing until a later event says otherwise."""
    return _part(meta, "state", seq, "", facts)


def _part(meta: EventMeta, key: str, seq: int, message: str, facts: Mapping[str, Fact | None]) -> Part:
    known = {name: value for name, value in facts.items() if value is not None and value != ""}
    return Part(key=key, event=meta.type, seq=seq, time=meta.time, facts=known, message=message)


def sources_of(target: Ref, *sources: tuple[Relation, str]) -> tuple[Edge, ...]:
    """Return edges from those sources that have an id."""
    return tuple(Edge(relation, source, target.id) for relation, source in sources if source)


def curation_ref(curation: str, seq: int) -> Ref:
    """Return the node of one completion of a curation."""
    return Ref(Kind.CURATION, version_id(curation, seq))
