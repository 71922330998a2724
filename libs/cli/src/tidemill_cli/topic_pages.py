"""Topics as a part of an HTML page."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from tidemill.rag.v1.topic_service_pb2 import GetTopicsResponse
from tidemill_cli.html_pages import html_table
from tidemill_cli.svg_figures import ACCENT, plain_axes, shortened, svg_of
from tidemill_cli.topic_tables import OUTLIER_HEADS, outlier_row, topic_facts, topic_heads, topic_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABEL, _TERMS = 44, 4
_LINES = 8
"""Topics whose growth is drawn."""


def topic_section(reply: GetTopicsResponse, periods: Sequence[str] = ()) -> str:
    """Return the HTML of topics: shares, growth, terms, examples and outliers."""
    return "".join(_section(reply, periods))


def _section(reply: GetTopicsResponse, periods: Sequence[str]) -> Iterator[str]:
    yield "<h2>Topics</h2>\n"
    yield from html_table(("", ""), [(name, fact) for name, fact in topic_facts(reply).items() if fact])
    yield f"<figure>\n{_shares_svg(reply)}</figure>\n"
    yield from html_table(topic_heads(periods), list(topic_rows(reply, periods)))
    months = sorted({each.month for topic in reply.topics for each in topic.months})
    if len(months) > 1:
        yield f"<h2>Growth of topics</h2>\n<figure>\n{_growth_svg(reply, months)}</figure>\n"
    if reply.outliers:
        yield "<h2>Far from every topic</h2>\n"
        yield from html_table(OUTLIER_HEADS, [outlier_row(each) for each in reply.outliers])


def _shares_svg(reply: GetTopicsResponse) -> str:
    shown = list(reply.topics)[::-1]
    names = [f"{each.number}: {', '.join(term.term for term in each.terms[:_TERMS]) or '-'}" for each in shown]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.barh(range(len(shown)), [each.share for each in shown], height=0.8, color=ACCENT)
        axes.set_yticks(range(len(shown)), [shortened(name, _LABEL) for name in names])
        axes.set_xlabel("share of documents")
        plain_axes(axes)

    return svg_of((9, 0.8 + 0.26 * len(shown)), draw, name="topics")


def _growth_svg(reply: GetTopicsResponse, months: Sequence[str]) -> str:
    """Draw how many documents each of the largest topics had by the end of each month."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for topic in reply.topics[:_LINES]:
            counts = {each.month: each.documents for each in topic.months}
            axes.plot(
                range(len(months)), list(accumulate(counts.get(month, 0) for month in months)), label=topic.number
            )
        step = -(-len(months) // 12)
        axes.set_xticks(range(0, len(months), step), list(months[::step]))
        axes.set_ylabel("documents")
        plain_axes(axes)
        axes.legend(frameon=False, loc="upper left", title="topic")

    return svg_of((9, 2.8), draw, name="topic-growth")
