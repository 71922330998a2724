"""Found passages with those before and after them."""

from dataclasses import replace

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.indexing.domain.places import Anchor, AnchorKind, Place, together
from tidemill_rag.search.search import Answer

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "iota", "kappa")
TEXT = "\n\n".join(f"{word} " + " ".join(f"{word}{number}" for number in range(14)) for word in WORDS)
"""A paragraph for each word, which is a passage."""
CUT = {"max_tokens": 17, "overlap_tokens": 0}


async def indexed(text: str = TEXT, *, count: int = 1, anchors: tuple[Anchor, ...] = (), **cut: int) -> Rag:
    rag = Rag()
    rag.ingest.put("doc", text, anchors=anchors)
    settings = SearchSettings(neighbours=count)
    await rag.crud.create(ADA, replace(spec(**(CUT | cut)), search=settings), write("r1"))  # type: ignore[arg-type]
    await rag.work()
    return rag


def shown(answer: Answer, text: str = TEXT) -> list[list[str]]:
    """Return the words of each passage, which is the text of its span."""
    for each in answer.passages:
        assert text[each.payload.start : each.payload.end] == each.payload.text
    return [[word for word in WORDS if f"{word} " in each.payload.text] for each in answer.passages]


async def test_a_passage_comes_with_those_around_it_as_the_text_of_one_span() -> None:
    rag = await indexed()

    assert shown(await rag.search("delta3", top_k=1)) == [["gamma", "delta", "epsilon"]]
    assert shown(await rag.search("alpha3", top_k=1)) == [["alpha", "beta"]]
    assert shown(await rag.search("kappa3", top_k=1)) == [["iota", "kappa"]]


async def test_what_would_overlap_or_touch_is_one_passage_in_the_place_of_the_better() -> None:
    rag = await indexed()

    assert shown(await rag.search("beta3 beta4 delta3", top_k=2)) == [["alpha", "beta", "gamma", "delta", "epsilon"]]
    apart = shown(await rag.search("iota3 iota4 beta3", top_k=2))
    assert apart == [["zeta", "iota", "kappa"], ["alpha", "beta", "gamma"]]


async def test_a_third_match_between_two_joins_both() -> None:
    rag = await indexed(count=1)

    joined = shown(await rag.search("iota3 iota4 iota5 beta3 beta4 epsilon3", top_k=3))

    assert joined == [list(WORDS)]


async def test_what_passages_share_is_not_repeated() -> None:
    text = " ".join(f"This is sentence number {number} of it." for number in range(20))
    rag = await indexed(text, max_tokens=34, overlap_tokens=10)

    [passage] = (await rag.search("sentence number 9", top_k=1)).passages

    assert passage.payload.text == text[passage.payload.start : passage.payload.end]
    assert passage.payload.text.count("number 9 ") == 1
    assert "number 7 " in passage.payload.text


async def test_nothing_is_joined_across_text_that_is_not_searchable() -> None:
    unknown = " ".join(["\u0e01\u0e02\u0e03"] * 14)
    text = TEXT.replace("\n\ndelta ", f"\n\n{unknown}\n\ndelta ")
    rag = await indexed(text)

    assert shown(await rag.search("delta3", top_k=1), text) == [["delta", "epsilon"]]


async def test_the_score_and_the_documents_with_the_same_text_are_those_of_what_was_found() -> None:
    rag = await indexed()
    rag.ingest.put("copy", TEXT)
    await rag.consume(rag.ingest.put("copy", TEXT))
    await rag.work()

    [passage] = (await rag.search("delta3", top_k=1)).passages
    plain = await indexed(count=0)

    assert passage.also_in
    assert passage.score == (await plain.search("delta3", top_k=1)).passages[0].score


async def test_other_versions_of_a_document_and_other_documents_are_no_part_of_it() -> None:
    rag = await indexed()
    await rag.consume(rag.ingest.put("doc", "delta3 alone", seq=2))
    await rag.work()

    [passage] = (await rag.search("delta3", top_k=1)).passages

    assert passage.payload.text == "delta3 alone"


async def test_the_places_of_a_passage_are_those_of_all_of_it() -> None:
    pages = tuple(
        Anchor(start=TEXT.index(f"{word} "), kind=AnchorKind.PAGE, number=number)
        for number, word in enumerate(("alpha", "beta", "gamma", "delta", "epsilon"), start=1)
    )
    rag = await indexed(anchors=pages)

    [passage] = (await rag.search("delta3", top_k=1)).passages

    assert passage.payload.places == (Place(kind=AnchorKind.PAGE, first=3, last=5),)


def test_rows_of_several_sheets_are_not_counted_together() -> None:
    one = (Place(kind=AnchorKind.SHEET, first=1, last=1, name="A"), Place(kind=AnchorKind.ROW, first=3, last=4))
    other = (Place(kind=AnchorKind.SHEET, first=2, last=2, name="B"), Place(kind=AnchorKind.ROW, first=1, last=2))

    assert together([one, one]) == one
    assert together([one, other]) == (Place(kind=AnchorKind.SHEET, first=1, last=2),)


async def test_an_index_that_does_not_know_the_order_says_what_is_missing() -> None:
    rag = await indexed()
    key = IndexRef(project="acme", collection="handbook", number=1).key
    for name, point in rag.vectors.points[key].items():
        rag.vectors.points[key][name] = replace(point, payload=replace(point.payload, ordinal=-1, lead=None))

    answer = await rag.search("delta3", top_k=1)

    assert shown(answer) == [["delta"]]
    assert "RebuildIndex" in answer.warnings[0]


@pytest.mark.parametrize("count", [-1, 6])
async def test_more_neighbours_than_the_limit_are_refused(count: int) -> None:
    with pytest.raises(Exception, match=r"search\.neighbours: is"):
        await indexed(count=count)
