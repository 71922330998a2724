"""Lineage graphs as SVG: upstream on the left, downstream on the right."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemill_cli.svg_figures import FAINT, INK, shortened, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tidemill.monitor.v1.lineage_pb2 import Node
    from tidemill.monitor.v1.lineage_service_pb2 import GetLineageResponse

_KINDS = {
    "document": "#d9e2ec",
    "document_version": "#d9e2ec",
    "index_version": "#d5e8e4",
    "prompt_version": "#e4dff2",
    "deployment": "#f6e0c8",
    "inference": "#cfe3f7",
    "feedback": "#fbe3e6",
    "curation": "#fdebc8",
    "dataset_version": "#fdebc8",
    "judge_version": "#e4dff2",
    "training_run": "#dcefd2",
    "model_version": "#bfe3c0",
    "evaluation": "#e4dff2",
    "retrieval_evaluation": "#e4dff2",
    "harness_run": "#e4dff2",
    "rollout": "#f6e0c8",
}
"""Colours by kind, in their order within a column."""

_OTHER = "#eeeeee"
_COLUMN_IN, _ROW_IN, _HEAD_IN = 2.25, 0.34, 0.7
_BOX = (0.78, 0.68)
"""Width and height of a box, in columns and rows."""
_LABEL = 24
_SWEEPS = 4
_LABELLED_EDGES = 16
"""Above this number of edges, labels are omitted."""

Key = tuple[str, str]
Pair = tuple[Key, Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Positions of nodes: columns from the left, rows from the top."""

    nodes: Mapping[Key, "Node"]
    edges: Mapping[Pair, str]
    places: Mapping[Key, tuple[int, float]]
    columns: int
    rows: int


def lineage_svg(response: "GetLineageResponse") -> str:
    """Return the graph as self-contained SVG; readable with about ten to sixty nodes.

    A dashed box stands for all others of its kind, with their number; the thick one is what was asked about.
    """
    layout = _laid_out(response)
    size_in = (max(1, layout.columns) * _COLUMN_IN + 0.3, max(1, layout.rows) * _ROW_IN + _HEAD_IN)
    first = next(iter(layout.nodes), None)
    return svg_of(size_in, lambda figure: _draw(figure, layout, first), name="lineage")


def _laid_out(response: "GetLineageResponse") -> _Layout:
    nodes = {(node.kind, node.id): node for node in response.nodes}
    edges: dict[Pair, str] = {}
    for edge in response.edges:
        pair = ((edge.source_kind, edge.source_id), (edge.target_kind, edge.target_id))
        if pair[0] in nodes and pair[1] in nodes and pair[0] != pair[1]:
            edges.setdefault(pair, edge.relation)
    layers = _layers(list(nodes), list(edges))
    columns = _ordered(layers, list(edges))
    rows = max((len(column) for column in columns), default=0)
    places = {
        key: (number, row + (rows - len(column)) / 2)
        for number, column in enumerate(columns)
        for row, key in enumerate(column)
    }
    return _Layout(nodes=nodes, edges=edges, places=places, columns=len(columns), rows=rows)


def _layers(nodes: Sequence[Key], edges: Sequence[Pair]) -> dict[Key, int]:
    """Return the column of each node: right of its predecessors, nodes of one kind together where possible."""
    forward = _without_cycles(nodes, edges)
    layers = _pushed_right(dict.fromkeys(nodes, 0), forward)
    for kind in dict.fromkeys(kind for kind, _ in nodes):
        same = [key for key in nodes if key[0] == kind]
        requested = layers | dict.fromkeys(same, max(layers[key] for key in same))
        layered = _pushed_right(requested, forward)
        if len({layered[key] for key in same}) == 1:
            layers = layered
    for key in sorted(nodes, key=lambda key: -layers[key]):
        targets = [layers[target] for source, target in forward if source == key]
        if targets and not any(target == key for _, target in forward):
            layers[key] = min(targets) - 1
    used = {layer: number for number, layer in enumerate(sorted(set(layers.values())))}
    return {key: used[layer] for key, layer in layers.items()}


def _pushed_right(layers: Mapping[Key, int], edges: Sequence[Pair]) -> dict[Key, int]:
    """Return layers in which each edge points to the right; terminates because the edges are acyclic."""
    layered = dict(layers)
    for _ in layered:
        moved = False
        for source, target in edges:
            if layered[target] <= layered[source]:
                layered[target], moved = layered[source] + 1, True
        if not moved:
            break
    return layered


def _without_cycles(nodes: Sequence[Key], edges: Sequence[Pair]) -> list[Pair]:
    """Return the edges without those that close a cycle."""
    targets: dict[Key, list[Key]] = defaultdict(list)
    for source, target in edges:
        targets[source].append(target)
    done: set[Key] = set()
    kept: list[Pair] = []
    for root in nodes:
        if root in done:
            continue
        path, stack = {root}, [(root, iter(targets[root]))]
        while stack:
            key, left = stack[-1]
            other = next(left, None)
            if other is None:
                stack.pop()
                path.discard(key)
                done.add(key)
            elif other not in path:
                kept.append((key, other))
                if other not in done:
                    path.add(other)
                    stack.append((other, iter(targets[other])))
    return kept


def _ordered(layers: Mapping[Key, int], edges: Sequence[Pair]) -> list[list[Key]]:
    """Return columns grouped by kind, each node near its neighbours (barycentre method, Sugiyama et al. 1981)."""
    columns: list[list[Key]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for key in sorted(layers, key=_standing):
        columns[layers[key]].append(key)
    near: dict[Key, list[Key]] = defaultdict(list)
    for source, target in edges:
        near[source].append(target)
        near[target].append(source)
    for sweep in range(_SWEEPS):
        row = {key: place / max(1, len(column)) for column in columns for place, key in enumerate(column)}
        for column in columns if sweep % 2 else reversed(columns):
            middle = {key: sum(row[each] for each in near[key]) / max(1, len(near[key])) for key in column}
            column.sort(key=lambda key, middle=middle: (_kind_place(key[0]), key[1] == "", middle[key], key))  # type: ignore[misc]
            row |= {key: place / max(1, len(column)) for place, key in enumerate(column)}
    return columns


def _standing(key: Key) -> tuple[int, bool, str]:
    return _kind_place(key[0]), key[1] == "", key[1]


def _kind_place(kind: str) -> int:
    return list(_KINDS).index(kind) if kind in _KINDS else len(_KINDS)


def _draw(figure: "Figure", layout: _Layout, first: Key | None) -> None:
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-0.55, max(1, layout.columns) - 0.45)
    axes.set_ylim(max(1, layout.rows) - 0.3, -_HEAD_IN / _ROW_IN + 0.3)
    if not layout.nodes:
        axes.text(0, 0, "nothing is known", ha="center", va="center")
    for pair, relation in layout.edges.items():
        _draw_edge(axes, layout, pair, relation if len(layout.edges) <= _LABELLED_EDGES else "")
    for key in layout.nodes:
        _draw_node(axes, layout, key, asked=key == first)
    heads: dict[int, dict[str, None]] = defaultdict(dict)
    for kind, name in layout.nodes:
        heads[layout.places[kind, name][0]][kind.replace("_", " ")] = None
    for column, kinds in heads.items():
        top = min(row for number, row in layout.places.values() if number == column)
        axes.text(column, top - 0.62, "\n".join(kinds), ha="center", va="bottom", fontsize=7, color=INK, alpha=0.7)


def _draw_node(axes: "Axes", layout: _Layout, key: Key, *, asked: bool) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415 - see svg_figures

    node, (x, y), (width, height) = layout.nodes[key], layout.places[key], _BOX
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0.0,rounding_size=0.06",
        mutation_aspect=_COLUMN_IN / _ROW_IN,
        facecolor=_KINDS.get(node.kind, _OTHER),
        edgecolor=INK if asked or node.folded else FAINT,
        linewidth=1.8 if asked else 0.8,
        linestyle=(0, (3, 2)) if node.folded else "-",
        zorder=2,
    )
    axes.add_patch(box)
    label = f"+ {node.folded} more" if node.folded else node.label or node.id
    weight = "bold" if asked or node.folded else "normal"
    axes.text(x, y, shortened(label, _LABEL), ha="center", va="center", fontsize=7.5, fontweight=weight, zorder=3)


def _draw_edge(axes: "Axes", layout: _Layout, pair: Pair, label: str) -> None:
    from matplotlib.patches import PathPatch  # noqa: PLC0415 - see svg_figures
    from matplotlib.path import Path  # noqa: PLC0415

    (source_x, source_y), (target_x, target_y) = layout.places[pair[0]], layout.places[pair[1]]
    start, end = source_x + _BOX[0] / 2, target_x - _BOX[0] / 2
    bend = max(0.12, abs(end - start) / 2)
    points = [(start, source_y), (start + bend, source_y), (end - bend, target_y), (end, target_y)]
    curve = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=FAINT, linewidth=0.7, alpha=0.8, zorder=1))
    axes.plot([end - 0.015], [target_y], marker=">", markersize=3, color=FAINT, zorder=1)
    if label:
        x, y = (start + end) / 2, (source_y + target_y) / 2 - 0.12
        axes.text(x, y, label.replace("_", " "), ha="center", va="bottom", fontsize=5.5, color=INK, alpha=0.65)
