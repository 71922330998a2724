"""What the topics of a collection say to a caller."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from services.rag.tests.fakes import ADA, spec, write
from services.rag.tests.topics.subjects import Described, described
from tidemill_core.errors import InvalidInput, RateLimited
from tidemill_rag.errors import CollectionNotFound, IndexNotReady, TooFewDocuments
from tidemill_rag.indexing.domain.ledger import Row
from tidemill_rag.topics.describe_topics import quantile_of
from tidemill_rag.topics.domain import Clusters, Days, Sampled, Topics

YEAR = Days(first=date(2026, 1, 1), last=date(2026, 12, 31))


def terms(topics: Topics) -> list[set[str]]:
    return [{term.term for term in topic.terms} for topic in topics.topics]


def named(topics: Topics) -> set[str]:
    """Return every document that is named."""
    examples = {each.document for topic in topics.topics for each in topic.examples}
    return examples | {each.document for each in topics.outliers}


async def test_topics_have_their_share_terms_examples_and_growth() -> None:
    harness = await described()

    topics = await harness()

    assert [(topic.number, topic.documents) for topic in topics.topics] == [(1, 12), (2, 12), (3, 12)]
    assert [topic.share for topic in topics.topics] == [pytest.approx(1 / 3)] * 3
    assert {"vpn", "tunnel", "gateway"} <= next(each for each in terms(topics) if "vpn" in each)
    assert all("please" not in each for each in terms(topics))
    assert [len(topic.examples) for topic in topics.topics] == [3] * 3
    assert topics.topics[0].examples[0].title.startswith("About cms-")
    assert [(each.month, each.documents) for each in topics.topics[0].months] == [("2026-11", 12)]
    assert (topics.documents, topics.sampled, topics.index, topics.warnings) == (36, False, 1, ())


async def test_the_document_that_is_far_from_every_topic_is_named() -> None:
    harness = await described()
    await harness.put("cms-odd", "zebra quartz volcano")
    await harness.rag.work()

    topics = await harness()

    assert [each.document for each in topics.outliers] == ["cms-odd"]
    assert topics.outliers[0].distance > topics.outlier_distance


@pytest.mark.parametrize(
    ("share", "of", "beyond"),
    [(0.98, 20, 1), (0.98, 50, 1), (0.98, 100, 2), (0.98, 200, 4), (0.9, 30, 3), (0.01, 20, 19), (0.999, 20, 1)],
)
def test_beyond_a_quantile_is_the_rest_and_one_at_least(share: float, of: int, beyond: int) -> None:
    distances = [float(number) for number in range(of)]

    assert sum(each > quantile_of(distances, share) for each in distances) == beyond


async def test_documents_with_readers_say_nothing_to_others() -> None:
    harness = await described()
    for number in range(12):
        await harness.put(f"cms-deal-{number:02}", "merger takeover acquisition secret", ("group:board",))
    await harness.rag.work()

    public, board = await harness(), await harness(principals=("group:board",))

    assert (public.documents, board.documents) == (36, 48)
    assert not any("merger" in each for each in terms(public))
    assert not any("deal" in each for each in named(public))
    assert any("merger" in each for each in terms(board))


async def test_a_deleted_document_is_gone_and_its_words_with_it() -> None:
    harness = await described(per_subject=12)
    for number in range(12):
        gone = harness.rag.ingest.remove(f"cms-food-{number:02}", seq=2)
        await harness.rag.consume(gone)

    topics = await harness()

    assert topics.documents == 24
    assert not any("canteen" in each for each in terms(topics))
    assert not any("food" in each for each in named(topics))


async def test_of_a_document_that_is_deleted_while_topics_are_computed_neither_name_nor_words_are_said() -> None:
    harness = await described()
    compute = harness.compute

    class Meanwhile:
        async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
            # All documents of one topic, and most of another one.
            for each in documents[:22]:
                await harness.rag.consume(harness.rag.ingest.remove(each.document, seq=2))
            return await compute(project, documents, count=count)

    harness.compute = Meanwhile()

    topics = await harness()

    assert topics.documents == 14
    assert not any("food" in each for each in named(topics))
    assert sorted(map(len, terms(topics))) == [0, 0, 5]


async def test_topics_of_a_source_are_made_of_its_documents() -> None:
    harness = Described()
    await harness.rag.crud.create(ADA, spec(sources=("cms", "wiki")), write("r1"))
    await harness.fill()
    await harness.fill(source="wiki", per_subject=8)

    topics = await harness(sources=("wiki",))

    assert topics.documents == 24
    assert all(document.startswith("wiki-") for document in named(topics))
    with pytest.raises(InvalidInput, match=r"sources\[0\]: is no source of collection handbook: it has cms, wiki"):
        await harness(sources=("faq",))


async def test_two_periods_are_compared() -> None:
    harness = await described()
    november = Days(first=date(2026, 11, 10), last=date(2026, 11, 30))
    before = Days(first=date(2026, 10, 1), last=date(2026, 11, 9))

    topics = await harness(period=november, baseline=before)

    assert [(each.documents_of_period, each.documents_of_baseline) for each in topics.topics] == [(6, 6)] * 3
    assert topics.shift is not None
    assert (topics.shift.shifted, topics.shift.p_value) == (False, 1.0)


async def test_of_a_large_collection_a_sample_is_read() -> None:
    harness = await described(per_subject=20)
    harness.max_documents = 30

    topics = await harness()

    assert (topics.documents, topics.sampled) == (30, True)


async def test_of_a_project_one_call_reads_at_a_time_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = await described()
    refused = list[RateLimited]()
    compute, read = harness.compute, list[str]()
    first = harness.rag.ledger.first

    async def counted(*of: Any, **which: Any) -> Sequence[Row]:  # noqa: ANN401 - those of the port
        read.append(which["after"])
        return await first(*of, **which)

    class Meanwhile:
        async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
            reads, waiting = len(read), asyncio.create_task(harness())
            await asyncio.sleep(0)
            with pytest.raises(RateLimited, match="2 topics of this project run, 1 at a time: try again later") as one:
                await harness()
            refused.append(one.value)
            waiting.cancel()
            assert len(read) == reads
            return await compute(project, documents, count=count)

    monkeypatch.setattr(harness.rag.ledger, "first", counted)
    harness.compute = Meanwhile()

    assert (await harness()).documents == 36
    assert len(refused) == 1


async def test_fewer_topics_than_were_asked_for_come_with_a_warning() -> None:
    harness = await described()
    compute = harness.compute

    class Fewer:
        async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
            return await compute(project, documents, count=count - 1)

    harness.compute = Fewer()

    topics = await harness(count=3)

    assert len(topics.topics) == 2
    assert topics.warnings == ("3 topics were asked for, and 2 found that have documents enough",)


async def test_documents_whose_time_is_unknown_are_in_no_month() -> None:
    harness = await described()
    for row in harness.rag.ledger.stored.values():
        object.__setattr__(row.desired, "version_time", None)

    topics = await harness()

    assert [topic.months for topic in topics.topics] == [()] * 3
    assert "of 36 documents it is not known when their version came: RebuildIndex finds out" in topics.warnings


async def test_while_another_index_version_is_built_the_topics_of_the_live_one_come_with_a_warning() -> None:
    harness = await described()
    harness.rag.models.newest = 2
    await harness.rag.rebuild(ADA, "handbook", write("r2"))

    topics = await harness()

    assert topics.index == 1
    assert "index version 2 is being built; these are the topics of version 1, which is live" in topics.warnings


async def test_what_has_no_topics_says_what_to_do() -> None:
    harness = Described()
    with pytest.raises(CollectionNotFound, match="handbook"):
        await harness()
    await harness.rag.crud.create(ADA, spec(), write("r1"))
    with pytest.raises(IndexNotReady, match="the first index of collection handbook is being built"):
        await harness()
    await harness.rag.work()
    await harness.fill(per_subject=2)
    with pytest.raises(TooFewDocuments, match=r"6 of the documents asked for .* topics take 20: add documents"):
        await harness()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"count": 1}, "count: is 1; use 2 to 30, or 0 to have the number chosen"),
        ({"count": 9}, "count: is 9; 36 documents make at most 3 topics"),
        ({"outlier_quantile": 1.5}, "outlier_quantile: is 1.5; use a number between 0 and 1"),
        ({"significance": -1.0}, "significance: is -1; send a number between 0 and 1"),
        ({"sources": ("cms",) * 101}, "sources: has 101 sources; name at most 100"),
        (
            {"period": YEAR, "baseline": Days(first=YEAR.last, last=YEAR.last)},
            "baseline: has days of the period: end it",
        ),
        ({"baseline": Days(first=date(2026, 1, 1), last=date(2026, 1, 2))}, "period: is not set, and baseline is"),
    ],
)
async def test_what_is_out_of_range_is_refused(asked: dict[str, object], message: str) -> None:
    harness = await described()
    with pytest.raises(InvalidInput, match=message):
        await harness(**asked)
