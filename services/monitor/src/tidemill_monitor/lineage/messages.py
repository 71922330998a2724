"""What callers see, from what monitor means."""

from collections.abc import Iterator, Mapping

from tidemill.monitor.v1 import lineage_pb2 as pb
from tidemill_kit.grpc.server import timestamp_of
from tidemill_monitor.lineage.domain.graph import Edge, Fact, Node, Part, label_of
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.training import text_of
from tidemill_monitor.lineage.read_lineage import FOLDED, Lineage


def node_messages(lineage: Lineage) -> Iterator[pb.Node]:
    """Yield nodes as callers see them: the thing first, what is folded last."""
    for node in lineage.nodes:
        yield _node_message(node)
    for kind, number in sorted(lineage.folded.items()):
        yield pb.Node(kind=kind, id=FOLDED, label=f"{number} more", folded=number)


def edge_message(edge: Edge) -> pb.Edge:
    """Return an edge as callers see it."""
    source, target = edge.ends
    return pb.Edge(
        source_kind=source.kind,
        source_id=source.id,
        target_kind=target.kind,
        target_id=target.id,
        relation=edge.relation.name,
    )


def entry_message(part: Part) -> pb.TimelineEntry:
    """Return what happened as callers see it."""
    return pb.TimelineEntry(
        time=timestamp_of(part.time), event=part.event, message=part.message, facts=_spelled(part.facts)
    )


def _node_message(node: Node) -> pb.Node:
    return pb.Node(
        kind=node.ref.kind,
        id=node.ref.id,
        label=_label(node),
        time=timestamp_of(node.time),
        facts=_spelled(node.facts),
    )


def _label(node: Node) -> str:
    """Return what people know a thing by: a document's key rather than its id."""
    key = node.facts.get("key") if node.ref.kind in {Kind.DOCUMENT, Kind.DOCUMENT_VERSION} else None
    version = f"@{node.ref.id.rpartition('@')[2]}" if node.ref.kind is Kind.DOCUMENT_VERSION else ""
    return f"{key}{version}" if key else label_of(node.ref)


def _spelled(facts: Mapping[str, Fact]) -> dict[str, str]:
    """Return facts as text; those of documents that are older than numbers among them are text already."""
    return {name: _text(fact) for name, fact in facts.items()}


def _text(fact: Fact) -> str:
    if isinstance(fact, Mapping):
        return text_of(fact)
    if isinstance(fact, bool):
        return "true" if fact else "false"
    return f"{fact:.6g}" if isinstance(fact, float) else str(fact)
