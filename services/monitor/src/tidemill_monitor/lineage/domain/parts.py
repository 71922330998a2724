"""What events add to the graph, as a function of their type; a type that is not registered adds nothing."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Protocol

from tidemill_monitor.events.meta import EventMeta, version_id
from tidemill_monitor.lineage.domain.graph import STATE, Edge, Fact, NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import Kind, Relation

Updates = tuple[NodeUpdate, ...]


@singledispatch
def updates_of(_event: object, _meta: EventMeta) -> Updates:
    """Return the nodes and edges that an event adds to the graph."""
    return ()


class Numbered(Protocol):
    """The body of an event of an aggregate."""

    @property
    def seq(self) -> int:
        """Its number among the events of the aggregate."""


def event_part(meta: EventMeta, event: Numbered, message: str, /, *fields: str, **facts: Fact | None) -> Part:
    """Return what this event says of a thing: each event is a part of its own, of which a thing keeps the last ones.

    Facts are the named fields of the event, and those that are given.
    """
    return _part(f"{meta.name}_{event.seq}", meta, event, message, fields, facts)


def state_part(meta: EventMeta, event: Numbered, /, *fields: str, **facts: Fact | None) -> Part:
    """Return what this event says of a thing until a later event says otherwise."""
    return _part(STATE, meta, event, "", fields, facts)


def _part(  # noqa: PLR0913, PLR0917 - what both kinds of parts have
    key: str, meta: EventMeta, event: Numbered, message: str, fields: tuple[str, ...], facts: Mapping[str, Fact | None]
) -> Part:
    named = {name: getattr(event, name) for name in fields} | dict(facts)
    known = {name: value for name, value in named.items() if value is not None and value != ""}
    return Part(key=key, event=meta.type, seq=event.seq, time=meta.time, facts=known, message=message)


def update(ref: Ref, part: Part | None, *sources: tuple[Relation, str]) -> NodeUpdate:
    """Return what is added to a thing: a part, and edges from those sources that have an id."""
    return NodeUpdate(ref=ref, part=part, sources=sources_of(ref, *sources))


def sources_of(target: Ref, *sources: tuple[Relation, str]) -> tuple[Edge, ...]:
    """Return edges from those sources that have an id."""
    return tuple(Edge(relation, source, target.id) for relation, source in sources if source)


def curation_ref(curation: str, seq: int) -> Ref:
    """Return the node of one completion of a curation."""
    return Ref(Kind.CURATION, version_id(curation, seq))
