"""Runs side by side as one HTML file: tables and inline SVG, no scripts, nothing from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

from tidemill_cli.html_pages import html_page, html_table
from tidemill_cli.run_history.comparison import Comparison, evaluation_rows, shown
from tidemill_cli.svg_figures import svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE_IN = (8.0, 3.0)
_LARGEST = 1e38
"""Larger values cannot be drawn beside others."""
_FEW_POINTS = 40
"""Curves of up to so many points have a mark at each."""


def comparison_page(comparison: Comparison) -> str:
    """Return the page: figures, what differs, each curve of all runs in one picture, and what evaluations say."""
    return html_page(f"{len(comparison.runs)} training runs", _body(comparison))


def _body(comparison: Comparison) -> Iterator[str]:
    yield from _runs(comparison)
    yield "<h2>Figures</h2>\n"
    figures = ((name, *map(shown, values)) for name, values in comparison.figures)
    yield from html_table(("", *comparison.names), figures)
    yield "<h2>What differs</h2>\n"
    rows = ((each.group, each.name, *map(shown, each.values)) for each in comparison.differences)
    yield from html_table(("", "", *comparison.names), rows)
    yield f"<p>{comparison.shared} further settings, data and versions are the same in all of them.</p>\n"
    for place, name in enumerate(comparison.curves):
        yield f"<h2>{escape(name)} by step</h2>\n<figure>\n{_picture(comparison, name, place)}</figure>\n"
        if left := sum(abs(value) > _LARGEST for run in comparison.runs for _, value in run.curves.get(name, ())):
            yield f"<p>{left} values beyond {_LARGEST:g} are not drawn.</p>\n"
    if evaluations := evaluation_rows(comparison.runs):
        yield "<h2>Evaluations of what came of them</h2>\n"
        yield from html_table(("", *comparison.names), ((name, *values) for name, values in evaluations))
    if comparison.notice:
        yield f"<p>{escape(comparison.notice)}</p>\n"


def _runs(comparison: Comparison) -> Iterator[str]:
    rows = (
        (name, run.id, run.plan, run.state, run.model_version or run.reason or "-", _labels(run.labels), run.notes)
        for name, run in zip(comparison.names, comparison.runs, strict=True)
    )
    return html_table(("run", "id", "plan", "state", "made", "labels", "notes"), rows)


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _picture(comparison: Comparison, curve: str, place: int) -> str:
    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for name, run in zip(comparison.names, comparison.runs, strict=True):
            if points := [point for point in run.curves.get(curve, ()) if abs(point[1]) <= _LARGEST]:
                steps, values = zip(*points, strict=True)
                mark = "." if len(points) <= _FEW_POINTS else None
                axes.plot(steps, values, label=name, marker=mark, linewidth=1)
        axes.set_xlabel("step")
        axes.set_ylabel(curve)
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)

    return svg_of(_SIZE_IN, draw, name=f"curve-{place}")
