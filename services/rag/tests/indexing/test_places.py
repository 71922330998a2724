"""Passages know where they are in the original of their document."""

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill.content.v1 import content_pb2
from tidemill_rag.indexing.domain.places import Anchor, AnchorKind, Place, Places
from tidemill_rag.search.messages import passage_message
from tidemill_rag.vectors.payloads import from_stored, to_stored

PAGE, SHEET, ROW = AnchorKind.PAGE, AnchorKind.SHEET, AnchorKind.ROW


def anchor(start: int, kind: AnchorKind, number: int, name: str = "") -> Anchor:
    return Anchor(start=start, kind=kind, number=number, name=name)


def place(kind: AnchorKind, first: int, last: int = 0, name: str = "") -> Place:
    return Place(kind=kind, first=first, last=last or first, name=name)


PAGES = (anchor(0, PAGE, 1, "i"), anchor(10, PAGE, 2), anchor(20, PAGE, 4))
SHEETS = (
    anchor(0, SHEET, 1, "Prices"),
    anchor(10, ROW, 3),
    anchor(20, ROW, 4),
    anchor(30, SHEET, 2, "Days"),
    anchor(40, ROW, 1),
)


@pytest.mark.parametrize(
    ("anchors", "span", "places"),
    [
        (PAGES, (0, 10), [place(PAGE, 1, name="i")]),
        (PAGES, (0, 11), [place(PAGE, 1, 2)]),
        (PAGES, (15, 40), [place(PAGE, 2, 4)]),
        (PAGES, (20, 21), [place(PAGE, 4)]),
        (SHEETS, (12, 28), [place(SHEET, 1, name="Prices"), place(ROW, 3, 4)]),
        (SHEETS, (30, 39), [place(SHEET, 2, name="Days")]),
        (SHEETS, (31, 50), [place(SHEET, 2, name="Days"), place(ROW, 1)]),
        (SHEETS, (22, 50), [place(SHEET, 1, 2)]),
        ((), (0, 10), []),
    ],
)
def test_a_span_is_in_the_place_where_it_begins_and_those_that_begin_in_it(
    anchors: tuple[Anchor, ...], span: tuple[int, int], places: list[Place]
) -> None:
    assert list(Places(anchors).of(*span)) == places


async def test_a_passage_that_is_found_says_its_page() -> None:
    rag = Rag()
    text = "How to reset a password. " * 6 + "\n\n" + "How to order a phone. " * 6
    rag.ingest.put("d1", text, anchors=(anchor(0, PAGE, 6), anchor(text.index("How to order"), PAGE, 7, "vii")))
    await rag.crud.create(ADA, spec(max_tokens=32, overlap_tokens=0), write("r1"))
    await rag.work()

    [match] = (await rag.search("order phone", top_k=1)).passages
    message = passage_message(1, match)

    assert match.payload.places == (place(PAGE, 7, name="vii"),)
    expected = content_pb2.Place(kind=content_pb2.ANCHOR_KIND_PAGE, first=7, last=7, name="vii")
    assert list(message.places) == [expected]
    stored = to_stored(match.payload)
    assert from_stored(stored) == match.payload
    assert from_stored({name: value for name, value in stored.items() if name != "places"}).places == ()
