"""Documents that are cut by sentences, by windows and by rows."""

from itertools import pairwise

import pytest

from services.rag.tests.indexing.test_chunking import MANUAL, TABLE, spans, tokenize, words
from tidemill_rag.indexing.domain.chunking import WAYS, Chunk, Cut, chunk

SENTENCES = " ".join(f"This is sentence number {number} of a long text." for number in range(20))


def cut(text: str, by: str, *, maximum: int = 40, overlap: int = 4, title: str = "") -> list[Chunk]:
    how = Cut(max_tokens=maximum, overlap_tokens=overlap, special=2, by=by)
    return chunk(text, media_type="text/markdown", title=title, tokenize=tokenize, cut=how)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("text", [MANUAL, TABLE, SENTENCES])
def test_every_token_is_in_a_chunk_and_none_has_more_than_allowed(by: str, text: str) -> None:
    chunks = cut(text, by, title="The manual")

    assert max(len(tokenize(each.embedded)) + 2 for each in chunks) <= 40
    covered = {place for each in chunks for place in range(each.start, each.end)}
    assert all(start in covered for start, _ in tokenize(text))
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_a_text_without_tokens_has_no_chunks(by: str, text: str) -> None:
    assert cut(text, by) == []


@pytest.mark.parametrize("by", WAYS)
def test_chunks_are_joined_to_their_text_by_what_leads_to_them(by: str) -> None:
    first, *others = cut(MANUAL, by)

    text, end = MANUAL[first.start : first.end], first.end
    for each in others:
        assert each.lead is not None
        text += each.lead + MANUAL[max(end, each.start) : each.end]
        end = each.end

    assert text.strip() == MANUAL.strip()
    assert first.lead is None


def test_sentences_stay_whole_across_paragraphs_and_consecutive_chunks_share_one() -> None:
    text = SENTENCES.replace("long text. This", "long text.\n\nThis", 1)

    chunks = cut(text, "sentence", maximum=42, overlap=12)

    assert all(span.rstrip().endswith(".") and span.startswith("This is") for span in spans(text, chunks))
    assert all(after.start < before.end for before, after in pairwise(chunks))
    assert any("long text.\n\nThis" in span for span in spans(text, chunks))


def test_windows_are_as_long_as_may_be_wherever_they_end() -> None:
    chunks = cut(words("w", 100), "window", maximum=22, overlap=5)

    assert [len(tokenize(each.embedded)) for each in chunks[:-1]] == [20] * (len(chunks) - 1)
    assert spans(words("w", 100), chunks)[1].startswith("w15 ")


@pytest.mark.parametrize("by", ["sentence", "window"])
def test_a_chunk_of_a_stream_has_the_headings_of_where_it_starts(by: str) -> None:
    chunks = cut(MANUAL, by, maximum=24, overlap=0, title="The manual")

    [last] = [each for each in chunks if "old11" in each.embedded]
    assert last.context.startswith("The manual > Manual > Phones")


def test_each_row_of_a_table_is_a_passage_below_its_header_and_other_text_is_cut_by_structure() -> None:
    text = f"# Parts\n\nSome words.\n\n{TABLE}\nAfterwards.\n"

    chunks = cut(text, "rows", maximum=60)
    shown = [each.text(text) for each in chunks]

    rows = [each for each in shown if "| PX" in each]
    assert len(rows) == 60
    assert all(each.count("| PX") == 1 and each.count("| Part | Price |\n|---|---|\n") == 1 for each in rows)
    assert (shown[0], shown[-1]) == ("# Parts\n\nSome words.", "Afterwards.")


def test_a_row_that_is_too_long_is_cut_and_is_no_part_of_another_row_s_passage() -> None:
    text = f"| Part |\n|---|\n| {words('long', 90)} |\n| short |\n"

    shown = [each.text(text) for each in cut(text, "rows", maximum=30)]

    assert len(shown) > 3
    assert [each for each in shown if "short" in each] == ["| Part |\n|---|\n| short |"]
