"""lineage: upstream and downstream of a resource."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.tree import Tree

from tidemill.monitor.v1.lineage_pb2 import Edge, Node
from tidemill.monitor.v1.lineage_service_pb2 import (
    LINEAGE_DIRECTION_BACK,
    LINEAGE_DIRECTION_FORWARD,
    GetLineageRequest,
    GetLineageResponse,
)
from tidemill_cli.options import options
from tidemill_cli.output import call, moment, plain, show, stdout, writing
from tidemill_client.connection import Connection

KINDS = (
    "document, document_version, inference, feedback, curation, dataset_version, training_run, model_version, "
    "evaluation, retrieval_evaluation, harness_run, judge_version, rollout, deployment, prompt_version or index_version"
)
SHOWN_OF_KIND = 10


def lineage(
    kind: Annotated[str, typer.Argument(help=f"{KINDS}.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="The id; for versions name@number.")],
    *,
    forward: Annotated[bool, typer.Option("--forward", help="Downstream instead of upstream.")] = False,
    depth: Annotated[int, typer.Option(min=0, help="Maximum depth; 0 = the service's default.")] = 0,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Maximum nodes per kind; the others are folded.")
    ] = SHOWN_OF_KIND,
    svg: Annotated[Path | None, typer.Option("--svg", help="Also write a drawing to this file.")] = None,
) -> None:
    """Show the upstream (or downstream) lineage of a resource as a tree."""

    async def work(connection: Connection) -> GetLineageResponse:
        direction = LINEAGE_DIRECTION_FORWARD if forward else LINEAGE_DIRECTION_BACK
        request = GetLineageRequest(
            kind=kind.replace("-", "_"), id=name, direction=direction, depth=depth, nodes_of_kind=limit
        )
        found = await connection.lineage.GetLineage(request)
        if svg is not None:
            _draw(found, svg)
        return found

    found = call(work)
    show(plain(found), lineage_tree(found, forward=forward))
    if svg is not None and not options().as_json:
        stdout.print(f"written to {svg}")


def _draw(found: GetLineageResponse, svg: Path) -> None:
    from tidemill_cli.lineage_picture import lineage_svg  # noqa: PLC0415 - only needed with --svg

    with writing(svg):
        svg.write_text(lineage_svg(found), encoding="utf-8")


def lineage_tree(found: GetLineageResponse, *, forward: bool) -> RenderableType:
    """Return the graph as a tree; repeated nodes are not expanded again."""
    if not found.nodes:
        return "not found in the lineage graph"
    nodes = {(node.kind, node.id): node for node in found.nodes}
    below: dict[tuple[str, str], list[Edge]] = {}
    for edge in found.edges:
        start = (edge.source_kind, edge.source_id) if forward else (edge.target_kind, edge.target_id)
        below.setdefault(start, []).append(edge)
    first = found.nodes[0]
    tree = Tree(_label(first))
    _grow(tree, (first.kind, first.id), nodes, below, {(first.kind, first.id)}, forward=forward)
    cut = ["[dim]truncated: raise --depth or --limit[/]"] if found.cut else []
    return Group(tree, *cut)


def _grow(  # one step of a walk over the graph
    tree: Tree,
    at: tuple[str, str],
    nodes: Mapping[tuple[str, str], Node],
    below: Mapping[tuple[str, str], list[Edge]],
    shown: set[tuple[str, str]],
    *,
    forward: bool,
) -> None:
    for edge in below.get(at, []):
        to = (edge.target_kind, edge.target_id) if forward else (edge.source_kind, edge.source_id)
        label = _label(nodes[to]) if to in nodes else escape(f"{to[0]} {to[1]}")
        relation = f"[dim]{escape(edge.relation)}[/] " if edge.relation else ""
        if to in shown:
            tree.add(f"{relation}{label} [dim](see above)[/]" if to in below else f"{relation}{label}")
            continue
        shown.add(to)
        _grow(tree.add(f"{relation}{label}"), to, nodes, below, shown, forward=forward)


def _label(node: Node) -> str:
    kind = node.kind.replace("_", " ")
    more = f" and {node.folded} more" if node.folded else ""
    label = "" if node.label in {"", node.id} else f"  {node.label}"
    facts = "  ".join(f"{name}={value}" for name, value in sorted(node.facts.items()))
    return (
        f"[bold]{escape(kind)}[/] {escape(node.id + more + label)}  [dim]{escape(f'{moment(node.time)}  {facts}')}[/]"
    )
