"""What a question finds, and what it must not."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.rag.tests.fakes import ADA, EVE, Rag, spec, write
from tidemill_core.errors import InvalidInput
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.embedding.bm25 import Bm25Embedding
from tidemill_rag.errors import CollectionNotFound, IndexNotFound
from tidemill_rag.indexing.points import point_ids
from tidemill_rag.search.messages import filters_of
from tidemill_rag.vectors.ports import Payload, Point

FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def leave_behind(rag: Rag, document: str, *, seq: int, text: str = "stale words") -> None:
    """Put a point into the store as a worker that died or slept would leave it."""
    [row] = (await rag.ledger.rows(FIRST, [document])).values()
    vector = (await rag.models.model.embed_passages("acme", [text]))[0]
    payload = Payload(
        document=document, seq=seq, version=seq, start=0, end=len(text), text=text, source="cms", key=document
    )
    (sparse,) = await Bm25Embedding().embed_passages([("", text)], languages=["en"])
    point = Point(id=f"{point_ids(FIRST, row.desired, 1)[0]}{seq}{text}", vector=vector, sparse=sparse, payload=payload)
    await rag.vectors.upsert(FIRST.key, [point])


async def test_a_passage_reports_its_span_in_the_text_of_its_version() -> None:
    text = "# Näme\n\nReset a pässword in the portal.\n"
    rag = Rag()
    rag.ingest.put("d1", text, media_type="text/markdown", title="Näme")
    await rag.handbook()

    [passage] = (await rag.search("password portal")).passages

    assert text[passage.payload.start : passage.payload.end] == passage.payload.text
    assert passage.payload.text.endswith("in the portal.")
    assert (passage.payload.title, passage.payload.version) == ("Näme", 1)
    assert -1 <= passage.score <= 1


async def test_stale_points_are_not_shown_and_are_swept() -> None:
    rag = Rag()
    rag.ingest.put("d1", "current words", seq=3)
    await rag.handbook()
    await leave_behind(rag, "d1", seq=2)

    assert [p.payload.version for p in (await rag.search("stale words")).passages] == [3]
    assert rag.swept == [(FIRST, "d1", 3)]


async def test_points_that_are_not_visible_yet_are_neither_shown_nor_swept() -> None:
    rag = Rag()
    rag.ingest.put("d1", "current words", seq=3)
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "next words", seq=4))
    await leave_behind(rag, "d1", seq=4, text="next words")

    assert [p.payload.version for p in (await rag.search("next words")).passages] == [3]
    assert rag.swept == []


async def test_stale_points_are_made_good_by_further_candidates() -> None:
    rag = Rag()
    rag.ingest.put("d1", "something else", seq=100)
    rag.ingest.put("d2", "words, but less alike", seq=1)
    await rag.handbook()
    for seq in range(1, 60):
        await leave_behind(rag, "d1", seq=seq, text="words")

    assert (await rag.found("words", top_k=1)) == ["d2"]


async def test_metadata_filters_take_one_value_or_any_of_a_list() -> None:
    rag = Rag()
    rag.ingest.put("vpn", "words of vpn", metadata={"product": "vpn", "level": 2})
    rag.ingest.put("mail", "words of mail", metadata={"product": "mail", "level": 2})
    await rag.handbook()

    assert await rag.found("words", metadata_filter={"product": ["vpn"]}) == ["vpn"]
    assert sorted(await rag.found("words", metadata_filter={"product": ["vpn", "mail"], "level": [2]})) == [
        "mail",
        "vpn",
    ]
    assert await rag.found("words", metadata_filter={"product": ["phone"]}) == []


async def test_a_filter_may_be_a_range_of_numbers_or_times() -> None:
    rag = Rag()
    rag.ingest.put("old", "words", metadata={"level": 1, "published": "2025-12-31"})
    rag.ingest.put("new", "more words", metadata={"level": 2, "published": "2026-01-01"})
    await rag.handbook()

    async def found(**filters: object) -> list[str]:
        accepted, ranges = filters_of(ParseDict(filters, Struct()))
        return await rag.found("words", metadata_filter=accepted, ranges=ranges)

    assert await found(level={"gt": 1}) == ["new"]
    assert await found(published={"lt": "2026-01-01T00:00:00Z"}) == ["old"]
    assert await found(level=[1, 2], published={"gte": "2026-01-01"}) == ["new"]


@pytest.mark.parametrize(
    "value",
    [{}, {"above": 1}, {"gte": True}, {"gte": "soon"}, {"gte": 1, "lt": "2026-01-01"}, {"gte": [1]}, {"gte": None}, []],
)
def test_a_range_that_cannot_be_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"metadata_filter\.level: must be .* or a range"):
        filters_of(ParseDict({"level": value}, Struct()))


def test_a_range_is_of_a_field_that_documents_may_have() -> None:
    with pytest.raises(InvalidInput):
        filters_of(ParseDict({'a"].b': {"gte": 1}}, Struct()))


async def test_passages_below_the_least_score_are_left_out_and_the_answer_says_when_all_are() -> None:
    rag = Rag()
    rag.ingest.put("d1", "reset the password")
    rag.ingest.put("d2", "canteen is open")
    await rag.handbook()
    settings = replace(spec(), search=SearchSettings(min_score=0.6))
    await rag.crud.update(ADA, settings, frozenset({"search"}), write("r2"))

    assert await rag.found("reset the password") == ["d1"]
    answer = await rag.search("sourdough bread")
    assert answer.passages == []
    assert "no passage is relevant: the best one has score 0.000" in answer.warnings[0]


async def test_documents_with_readers_are_found_only_by_them() -> None:
    rag = Rag()
    rag.ingest.put("open", "words for all")
    rag.ingest.put("closed", "words for few", readers=("group:legal",))
    await rag.handbook()

    assert await rag.found("words") == ["open"]
    assert sorted(await rag.found("words", principals=("group:legal",))) == ["closed", "open"]


async def test_changed_readers_count_as_soon_as_their_version_is_indexed() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words", seq=1)
    await rag.handbook()
    await rag.consume(rag.ingest.put("d1", "words", seq=2, readers=("group:legal",)))
    await rag.work()

    assert await rag.found("words") == []


async def test_sources_narrow_a_search() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()

    assert await rag.found("words", sources=("cms",)) == ["d1"]
    assert await rag.found("words", sources=("wiki",)) == []


async def test_an_index_version_can_be_pinned_while_it_answers() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()

    assert (await rag.search("words", index=1)).index == 1
    with pytest.raises(IndexNotFound, match="no index version 7: existing: 1"):
        await rag.search("words", index=7)
    await rag.rebuild(ADA, "handbook", write("r2"))
    await rag.work()
    with pytest.raises(IndexNotFound, match="no index version 1: existing: 2"):
        await rag.search("words", index=1)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"text": " \n"}, "query: is empty"),
        ({"text": "x" * 1001}, "query: has 1001 characters; the limit is 1000"),
        ({"top_k": 101}, "top_k: is 101; use 1 to 100"),
        ({"top_k": -1}, "top_k: is -1"),
        ({"index": -1}, "index: is -1"),
    ],
)
async def test_a_question_out_of_its_limits_is_refused_with_the_limit(sides: dict[str, Any], message: str) -> None:
    rag = Rag()
    await rag.handbook()
    text = str(sides.pop("text", "words"))

    with pytest.raises(InvalidInput, match=message):
        await rag.search(text, **sides)


async def test_an_unknown_collection_is_not_found_and_the_known_ones_are_named() -> None:
    rag = Rag()
    await rag.handbook()

    with pytest.raises(CollectionNotFound, match="existing: handbook"):
        await rag.crud.get(ADA, "nope")
    with pytest.raises(CollectionNotFound, match="create it first"):
        await rag.search("words", caller=EVE)


async def test_the_text_of_a_deleted_document_does_not_come_back_with_its_next_incarnation() -> None:
    rag = Rag()
    first = rag.ingest.put("d1", "secret words", seq=1)
    await rag.handbook()
    again = replace(rag.ingest.put("d1", "other words", seq=3), begins=True)

    await rag.ledger.upsert_desired(FIRST, again)  # the deletion between them was superseded and never consumed

    assert (await rag.search("secret words")).passages == []
    assert first.content != again.content
    await rag.work()
    assert [passage.payload.text for passage in (await rag.search("words")).passages] == ["other words"]


async def test_equal_passages_share_a_place_and_name_each_document_that_the_asker_may_read() -> None:
    rag = Rag()
    rag.ingest.put("wiki", "Parents take fourteen weeks.")
    rag.ingest.put("intranet", "Parents  take\nfourteen weeks.")
    rag.ingest.put("closed", "Parents take fourteen weeks.", readers=("group:legal",))
    rag.ingest.put("council", "Parents may add two weeks.")
    await rag.handbook()

    first, second = (await rag.search("How many weeks do parents take?", top_k=2)).passages

    assert {first.payload.document, *(name.partition("/")[2] for name in first.also_in)} == {"wiki", "intranet"}
    assert (second.payload.document, second.also_in) == ("council", ())


async def test_a_question_in_a_script_that_the_model_does_not_know_finds_nothing_and_says_so() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words")
    await rag.handbook()

    answer = await rag.search("\u0e23\u0e32\u0e04\u0e32\u0e2b\u0e38\u0e49\u0e19")

    assert not answer.passages
    assert "lacks the query's script" in answer.warnings[0]


async def test_a_question_of_nothing_but_invisible_characters_is_empty() -> None:
    rag = Rag()
    await rag.handbook()

    with pytest.raises(InvalidInput, match="query: is empty"):
        await rag.search("\u200b \u2060\ufe0f")


def test_times_of_ranges_are_in_utc_which_every_store_reads() -> None:
    given = {"at": {"gte": "2026-01-01T00:00:30+00:00:30", "lt": "2026-01-02"}}

    _, ranges = filters_of(ParseDict({**given, "odd": "x"}, Struct()))

    assert [str(each) for each in (ranges["at"].gte, ranges["at"].lt)] == [
        "2026-01-01 00:00:00+00:00",
        "2026-01-02 00:00:00+00:00",
    ]
