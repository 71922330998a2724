"""The plots of the demo's report, each as SVG text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tidemill_cli.svg_figures import ACCENT, BAD, FAINT, GOOD, INK, shortened, svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_IN = 10.0
_NAMED_CASES = 80
"""With more, the labels would be too small to read."""
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with the scores of its answers before and after."""

    question: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """The difference."""
        return self.after - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One event of a timeline."""

    time: datetime
    event: str
    message: str


def scores_svg(case_set: str, metric: str, cases: Sequence[Case]) -> str:
    """Plot paired dots, one line per question, sorted by difference with the largest gain on top."""
    ordered = sorted(cases, key=lambda case: (case.difference, case.question))
    better = sum(case.difference > _SAME for case in ordered)
    worse = sum(case.difference < -_SAME for case in ordered)
    title = f"{metric} on {case_set}: {len(ordered)} cases, {better} better, {worse} worse"
    row_in = 0.17 if len(ordered) <= _NAMED_CASES else 0.06

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for row, case in enumerate(ordered):
            colour = GOOD if case.difference > _SAME else BAD if case.difference < -_SAME else FAINT
            axes.plot([case.before, case.after], [row, row], color=colour, linewidth=1.2, alpha=0.7, zorder=1)
        rows = range(len(ordered))
        axes.scatter([case.before for case in ordered], rows, s=14, facecolor="white", edgecolor=INK, label="before")
        axes.scatter([case.after for case in ordered], rows, s=14, color=ACCENT, label="after", zorder=3)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(metric)
        axes.set_ylim(-1, len(ordered))
        axes.set_yticks([])
        if len(ordered) <= _NAMED_CASES:
            axes.set_yticks(rows, [shortened(case.question, 48) for case in ordered], fontsize=6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        figure.set_layout_engine("tight")

    return svg_of((_WIDTH_IN, max(2.5, 1.1 + row_in * len(ordered))), draw, name=f"scores {case_set} {metric}")


def loss_svg(points: Sequence[tuple[float, float]], *, name: str = "loss") -> str:
    """Plot the training loss by step; `name` is that of the picture, unique on its page."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.plot([step for step, _ in points], [loss for _, loss in points], color=ACCENT, marker="o", markersize=2.5)
        axes.set_title(f"training loss, {points[0][1]:.3g} to {points[-1][1]:.3g}", loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.set_layout_engine("tight")

    return svg_of((_WIDTH_IN, 3.0), draw, name=name)


def timeline_svg(moments: Sequence[Moment]) -> str:
    """Plot the events of a timeline, one line each, at the seconds since the first."""
    ordered = sorted(moments, key=lambda moment: moment.time)
    seconds = [(moment.time - ordered[0].time).total_seconds() for moment in ordered]
    span = max(seconds[-1], 1.0)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.plot(seconds, range(len(ordered)), color=FAINT, linewidth=0.8, zorder=1)
        for row, (moment, second) in enumerate(zip(ordered, seconds, strict=True)):
            axes.scatter([second], [row], s=26, color=_colour_of(moment), zorder=2)
            left = second > span * 0.5
            text = shortened(f"{second:.0f} s: {moment.message or moment.event}", 84)
            gap = span * (-0.015 if left else 0.015)
            side, behind = "right" if left else "left", {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.text(second + gap, row, text, ha=side, va="center", fontsize=7, bbox=behind)
        axes.set_xlim(-span * 0.03, span * 1.03)
        axes.set_ylim(len(ordered) - 0.4, -0.6)
        axes.set_yticks([])
        axes.set_xlabel("seconds since the first event")
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.set_layout_engine("tight")

    return svg_of((_WIDTH_IN, 0.9 + 0.26 * len(ordered)), draw, name="timeline")


_COLOURS: Mapping[str, str] = {"promoted": GOOD, "rolled_back": BAD, "refused": BAD, "failed": BAD, "withheld": BAD}


def _colour_of(moment: Moment) -> str:
    return next((colour for word, colour in _COLOURS.items() if word in moment.event), ACCENT)
