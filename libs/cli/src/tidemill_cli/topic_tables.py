"""Topics on a terminal: their shares, typical terms, examples and growth, and the documents that are far from all."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType

from tidemill.rag.v1.topic_pb2 import Topic, TopicDocument
from tidemill.rag.v1.topic_service_pb2 import GetTopicsResponse
from tidemill_cli.output import card, table

OUTLIER_HEADS = ("outlier", "title", "distance", "nearest topic")


def topic_tables(reply: GetTopicsResponse, periods: Sequence[str] = ()) -> RenderableType:
    """Return what a reply says; `periods` are the names of the period and the baseline, where it has them."""
    parts: list[RenderableType] = [
        card(topic_facts(reply)),
        "",
        table(topic_heads(periods), list(topic_rows(reply, periods))),
    ]
    if reply.outliers:
        parts += ["", table(OUTLIER_HEADS, [outlier_row(each) for each in reply.outliers])]
    return Group(*parts)


def topic_facts(reply: GetTopicsResponse) -> dict[str, str]:
    """Return what there is of all topics."""
    of = "a sample of the documents" if reply.sampled else "all documents"
    facts = {
        "documents": f"{reply.documents} ({of} that you may read) of index version {reply.index}",
        "topics": f"{len(reply.topics)}, separation {reply.separation:.2f} (1: far apart, 0: they overlap)",
        "outliers": f"{len(reply.outliers)} shown, further than {reply.outlier_distance:.3f} from every topic",
    }
    if reply.HasField("shift"):
        differs = "yes" if reply.shift.shifted else "no"
        facts["shares differ"] = f"{differs}: effect {reply.shift.effect:.3f}, p {reply.shift.p_value:.3g} (chi-square)"
    return {**facts, "warnings": "; ".join(reply.warnings)}


def topic_heads(periods: Sequence[str]) -> tuple[str, ...]:
    """Return the heads of the table of topics."""
    return ("topic", "documents", "typical terms", "for example", *(periods or ("growth",)))


def topic_rows(reply: GetTopicsResponse, periods: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each topic."""
    for topic in reply.topics:
        terms = ", ".join(each.term for each in topic.terms) or "-"
        examples = "; ".join(each.title or each.key for each in topic.examples)
        counted = (topic.documents_of_period, topic.documents_of_baseline)[: len(periods)]
        grown = map(str, counted) if periods else (_growth(topic),)
        yield str(topic.number), f"{topic.documents} ({topic.share:.0%})", terms, examples, *grown


def outlier_row(document: TopicDocument) -> tuple[str, ...]:
    """Return the cells of one document that is far from every topic."""
    name = f"{document.source}/{document.key}"
    return name, document.title or "-", f"{document.distance:.3f}", str(document.topic)


def _growth(topic: Topic) -> str:
    """Return how many documents the last months have, newest first."""
    return ", ".join(f"{each.month}: {each.documents}" for each in topic.months[:-4:-1]) or "-"
