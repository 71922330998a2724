"""A profile as one HTML file: tables and inline SVG, no scripts, nothing from elsewhere."""

from collections.abc import Iterator, Sequence
from datetime import date
from html import escape
from typing import TYPE_CHECKING

from tidemill.ingest.v1.profile_pb2 import ColumnShift
from tidemill_cli.html_pages import html_page, html_table
from tidemill_cli.profile_tables import (
    BALANCE_HEADS,
    QUANTILES,
    Side,
    balance_rows,
    facts,
    quantile_cells,
    shares,
    shift_row,
    title_of,
)
from tidemill_cli.svg_figures import ACCENT, BAD, plain_axes, shortened, svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (ACCENT, BAD)
_EPOCH = date(1970, 1, 1).toordinal()
"""matplotlib counts days from then on."""
_BARS = 15
_LABEL = 28
_WIDE = 20
"""From so many times between the first quartile and the last value on, an axis is logarithmic."""


def profile_page(
    title: str, sides: Sequence[Side], shifts: Sequence[ColumnShift], *, sections: Sequence[str] = ()
) -> str:
    """Return the page of one profile, or of two that are compared, with further sections of HTML."""
    return html_page(title, (*_profile(sides, shifts), *sections))


def _profile(sides: Sequence[Side], shifts: Sequence[ColumnShift]) -> Iterator[str]:
    yield from html_table(("", "versions"), [(side.name, facts(side.profile)) for side in sides])
    if len(sides) > 1:
        yield "<h2>What differs</h2>\n"
        yield from html_table(
            ("column", "differs", "effect", "p adjusted", "test"), [shift_row(each) for each in shifts]
        )
    if balances := list(balance_rows(sides)):
        yield "<h2>Balance</h2>\n"
        yield from html_table(BALANCE_HEADS, balances)
    if any(side.profile.days for side in sides):
        yield f"<h2>By day</h2>\n<figure>\n{_days_svg(sides)}</figure>\n"
    for place, number in enumerate(sides[0].profile.numbers):
        yield f"<h2>{escape(title_of(number.name))}</h2>\n"
        if any(side.profile.numbers[place].quantiles for side in sides):
            yield f"<figure>\n{_distribution_svg(sides, place)}</figure>\n"
        heads = ("", *(name for _, name in QUANTILES), "mean", "outliers")
        yield from html_table(heads, [(side.name, *quantile_cells(side.profile.numbers[place])) for side in sides])
    for place, column in enumerate(sides[0].profile.categories):
        found = [dict(shares(side.profile.categories[place], side.profile.count)) for side in sides]
        names = list(dict.fromkeys(name for each in found for name in each))
        if names:
            yield f"<h2>{escape(title_of(column.name))}</h2>\n<figure>\n{_bars_svg(sides, place, names)}</figure>\n"
            rows = [(name, *(each.get(name, "-") for each in found)) for name in names]
            yield from html_table(("", *(side.name for side in sides)), rows)


def _days_svg(sides: Sequence[Side]) -> str:
    def draw(figure: "Figure") -> None:
        for row, (side, colour) in enumerate(zip(sides, _COLOURS, strict=False)):
            axes = figure.add_subplot(len(sides), 1, row + 1)
            days = [date.fromisoformat(each.day).toordinal() - _EPOCH for each in side.profile.days]
            axes.xaxis_date()
            axes.bar(days, [each.count for each in side.profile.days], color=colour, width=0.8)
            plain_axes(axes, side.name)
            axes.set_ylabel("versions")
        figure.autofmt_xdate()

    return svg_of((9, 1.9 * len(sides)), draw, name="days")


def _distribution_svg(sides: Sequence[Side], place: int) -> str:
    """Draw which share is not above each value."""
    column = sides[0].profile.numbers[place].name

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        wide = False
        for side, colour in zip(sides, _COLOURS, strict=False):
            quantiles = side.profile.numbers[place].quantiles
            ranks = [step / (len(quantiles) - 1) for step in range(len(quantiles))]
            axes.step(quantiles, ranks, where="post", color=colour, label=side.name)
            wide = wide or (len(quantiles) > 0 and quantiles[10] > 0 and quantiles[-1] > _WIDE * quantiles[10])
        if wide:
            axes.set_xscale("symlog")
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("share")
        plain_axes(axes)
        axes.legend(frameon=False, loc="lower right")

    return svg_of((9, 2.4), draw, name=f"number-{column}")


def _bars_svg(sides: Sequence[Side], place: int, names: Sequence[str]) -> str:
    shown = list(names[:_BARS])[::-1]
    thick = 0.8 / len(sides)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for row, (side, colour) in enumerate(zip(sides, _COLOURS, strict=False)):
            counts = {each.name: each.count for each in side.profile.categories[place].counts}
            whole = side.profile.count or 1
            lengths = [counts.get(name, 0) / whole for name in shown]
            places = [index - row * thick for index in range(len(shown))]
            axes.barh(places, lengths, height=thick, color=colour, label=side.name)
        axes.set_yticks(range(len(shown)), [shortened(name, _LABEL) for name in shown])
        axes.set_xlabel("by version")
        plain_axes(axes)
        if len(sides) > 1:
            axes.legend(frameon=False, loc="lower right")

    name = sides[0].profile.categories[place].name
    return svg_of((9, 0.8 + 0.24 * len(shown) * len(sides)), draw, name=f"category-{name}")
