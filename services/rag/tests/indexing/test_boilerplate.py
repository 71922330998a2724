"""What ingest marks as boilerplate is in no passage, and no passage goes across it."""

import re
from collections.abc import Sequence

import pytest
from google.protobuf.json_format import MessageToJson

from tidemill.ingest.v1.events_pb2 import Span as SpanMessage
from tidemill.ingest.v1.events_pb2 import VersionContent
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_rag.indexing.domain.chunking import WAYS, Chunk, Cut, chunk
from tidemill_rag.indexing.domain.content import Span
from tidemill_rag.indexing.ingest import ExchangeContents
from tidemill_testkit.objects import InMemoryObjects

MENU = "- [Home](/)\n- [Timetable](/times)\n- [Contact](/contact)"
FOOTER = "All rights reserved by the harbour."
PAGE = f"""{MENU}

# Tides

The tide is high at noon.

{FOOTER}

It is low at six.

- Ebb takes six hours.

- {FOOTER}

- Flood takes six hours.

{FOOTER}
"""


def tokenize(text: str) -> Sequence[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def without(text: str, *parts: str) -> list[Span]:
    found = [match.span() for part in parts for match in re.finditer(rf"^.*{re.escape(part)}.*\n", text, re.MULTILINE)]
    return [Span(start=start, end=end) for start, end in sorted(found)]


def chunks(
    text: str, spans: Sequence[Span], *, by: str = "structure", media_type: str = "text/markdown"
) -> list[Chunk]:
    how = Cut(max_tokens=200, overlap_tokens=4, special=2, by=by)
    return chunk(text, media_type=media_type, title="", tokenize=tokenize, cut=how, without=spans)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("media_type", ["text/markdown", "text/plain"])
def test_passages_hold_all_of_a_page_but_its_boilerplate(by: str, media_type: str) -> None:
    spans = without(PAGE, MENU, FOOTER)

    texts = [PAGE[each.start : each.end] for each in chunks(PAGE, spans, by=by, media_type=media_type)]

    whole = "\n".join(texts)
    assert FOOTER not in whole
    assert "Timetable" not in whole
    for kept in ("high at noon", "low at six", "Ebb", "Flood"):
        assert whole.count(kept) == 1


async def test_its_spans_come_with_the_content_of_a_version() -> None:
    bucket = ExchangeBucket(InMemoryObjects("exchange"), "exchange")
    content = VersionContent(media_type="text/markdown", text=PAGE, boilerplate=[SpanMessage(start=2, end=9)])
    ref = await bucket.put("acme", "d1", MessageToJson(content).encode(), media_type="application/json")

    found = await ExchangeContents(bucket).get(ref)

    assert found is not None
    assert found.boilerplate == (Span(start=2, end=9),)


def test_passages_on_both_sides_are_no_neighbours_and_have_their_headings() -> None:
    high, low, *_ = chunks(PAGE, without(PAGE, MENU, FOOTER))

    assert PAGE[high.start : high.end] == "# Tides\n\nThe tide is high at noon."
    assert low.context == "Tides"
    assert low.lead is None


def test_a_heading_above_nothing_but_boilerplate_is_no_passage() -> None:
    text = f"# Legal\n\n{FOOTER}\n\n# Tides\n\nHigh at noon.\n"

    (only,) = chunks(text, without(text, FOOTER))

    assert text[only.start : only.end] == "# Tides\n\nHigh at noon."


def test_without_boilerplate_nothing_changes() -> None:
    texts = [PAGE[each.start : each.end] for each in chunks(PAGE, [])]

    assert "\n".join(texts).count(FOOTER) == PAGE.count(FOOTER)


def test_a_part_of_a_paragraph_is_not_taken_out_of_it() -> None:
    text = f"The tide is high.\n{FOOTER}\nIt is low at six.\n"

    (only,) = chunks(text, without(text, FOOTER), media_type="text/plain")

    assert FOOTER in text[only.start : only.end]
