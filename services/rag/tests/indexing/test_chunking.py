"""How documents are cut: a token is a word or a punctuation mark here."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tidemill_rag.indexing.domain.chunking import Chunk, Cut, chunk


def tokenize(text: str) -> Sequence[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def cut(
    text: str, *, maximum: int = 40, overlap: int = 4, title: str = "", media_type: str = "text/markdown"
) -> list[Chunk]:
    how = Cut(max_tokens=maximum, overlap_tokens=overlap, special=2)
    return chunk(text, media_type=media_type, title=title, tokenize=tokenize, cut=how)


def spans(text: str, chunks: Sequence[Chunk]) -> list[str]:
    return [text[each.start : each.end] for each in chunks]


def words(name: str, count: int) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


MANUAL = f"""# Manual

{words("intro", 10)}

## Passwords

{words("reset", 12)}

- {words("one", 5)}
- {words("two", 5)}

## Phones

```python
{words("code", 10)}

{words("more", 10)}
```

### Old phones

{words("old", 12)}
"""


def test_a_text_that_fits_is_one_chunk() -> None:
    text = "# Title\n\nOne.\n\nTwo.\n"

    [only] = cut(text)

    assert text[only.start : only.end] == "# Title\n\nOne.\n\nTwo."
    assert (only.ordinal, only.context) == (0, "")


@pytest.mark.parametrize("maximum", [16, 20, 27, 40, 64, 200])
def test_no_chunk_has_more_tokens_than_allowed_and_every_token_is_in_one(maximum: int) -> None:
    chunks = cut(MANUAL, maximum=maximum, title="The manual")

    assert max(len(tokenize(each.embedded)) + 2 for each in chunks) <= max(maximum, 16 + 2 + maximum // 2)
    covered = {place for each in chunks for place in range(each.start, each.end)}
    assert all(start in covered for start, _ in tokenize(MANUAL))
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))


def test_blocks_that_fit_are_never_cut() -> None:
    for span in spans(MANUAL, cut(MANUAL, maximum=40)):
        for block in (words("intro", 10), words("reset", 12), words("one", 5), words("old", 12)):
            assert (block in span) or not (set(block.split()) & set(span.split()))


def test_a_fence_with_an_empty_line_in_it_stays_whole() -> None:
    [code] = [span for span in spans(MANUAL, cut(MANUAL, maximum=32)) if "code0" in span]

    assert "more9" in code
    assert code.rstrip().endswith("```")


def test_a_heading_stays_with_what_follows_it() -> None:
    for span in spans(MANUAL, cut(MANUAL, maximum=30)):
        assert not span.splitlines()[-1].startswith("#")


def test_what_is_embedded_begins_with_title_and_headings_that_the_span_does_not_show() -> None:
    chunks = cut(MANUAL, maximum=24, title="The manual")
    [old] = [each for each in chunks if "old0" in each.embedded]

    assert old.context == "The manual > Manual > Phones"
    assert old.embedded.startswith("The manual > Manual > Phones\n### Old phones")
    assert MANUAL[old.start : old.end].startswith("### Old phones")


def test_small_neighbours_are_packed_together() -> None:
    text = "\n\n".join(f"Paragraph {number}." for number in range(8))

    assert len(cut(text, maximum=18)) == 2


def test_a_long_paragraph_is_cut_where_sentences_end_and_repeats_a_little() -> None:
    sentences = [f"This is sentence number {number} of a long paragraph." for number in range(9)]
    text = " ".join(sentences)

    chunks = cut(text, maximum=42, overlap=12, media_type="text/plain")

    assert all(span.rstrip().endswith(".") for span in spans(text, chunks))
    assert all(span.startswith("This is") for span in spans(text, chunks))
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_without_overlap_nothing_is_repeated() -> None:
    text = words("w", 100)

    chunks = cut(text, maximum=22, overlap=0, media_type="text/plain")

    assert "".join(spans(text, chunks)).replace(" ", "") == text.replace(" ", "")


def test_a_word_that_no_boundary_cuts_is_cut_between_tokens() -> None:
    text = "-" * 200

    chunks = cut(text, maximum=22, overlap=5, media_type="text/plain")

    assert all(each.end - each.start <= 20 for each in chunks)
    assert chunks[-1].end == 200


def test_spans_count_code_points() -> None:
    text = "# Ünïcödé 🎉\n\n" + "\n\n".join(f"Grüße 🎉 {number}." for number in range(12)) + "\n"

    for each in cut(text, maximum=20):
        span = text[each.start : each.end]
        assert span == span.strip()
        assert span in each.embedded


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_line_ends_of_all_systems_report_the_same_blocks(ends: str) -> None:
    text = MANUAL.replace("\n", ends)

    assert [span.split() for span in spans(text, cut(text, maximum=30))] == [
        span.split() for span in spans(MANUAL, cut(MANUAL, maximum=30))
    ]


def test_plain_text_is_cut_at_empty_lines() -> None:
    text = f"{words('a', 12)}\n{words('b', 5)}\n\n{words('c', 17)}\n"

    assert spans(text, cut(text, maximum=20, media_type="text/plain")) == [
        f"{words('a', 12)}\n{words('b', 5)}",
        words("c", 17),
    ]


def test_a_title_that_is_too_long_takes_half_at_most() -> None:
    chunks = cut(words("w", 60), maximum=32, title=words("title", 100), media_type="text/plain")

    assert len(tokenize(chunks[0].context)) == 16
    assert len(chunks) > 4


@pytest.mark.parametrize("text", ["", " \n\n ", "\n"])
def test_a_text_without_tokens_has_no_chunks(text: str) -> None:
    assert cut(text) == []


@pytest.mark.heavy
def test_ten_thousand_paragraphs_take_no_more_than_a_moment() -> None:
    text = "\n\n".join(words(f"p{number}x", 20) for number in range(10_000))

    assert len(cut(text, maximum=256)) > 700


@pytest.mark.parametrize(
    "text",
    ["\u0e01" * 40_000, "x" * 60_000 + " a sentence.", "a" + " " * 60_000 + "b", "\U0001f468\u200d\U0001f469" * 9_000],
)
def test_a_passage_has_an_upper_bound_in_characters_whatever_the_vocabulary_makes_of_it(text: str) -> None:
    chunks = cut(text, maximum=42, media_type="text/plain", title=text[:500])

    assert all(len(each.embedded) <= 42 * 80 for each in chunks)
    assert {place for each in chunks for place in range(each.start, each.end) if text[place].strip()} == {
        place for place, character in enumerate(text) if character.strip()
    }


def test_a_heading_without_spaces_does_not_stand_before_every_passage_in_full() -> None:
    chunks = cut(f"# {'h' * 60_000}\n\n{words('w', 200)}\n", maximum=42)

    assert all(len(each.context) <= 42 * 16 for each in chunks)


TABLE = "| Part | Price |\n|---|---|\n" + "".join(f"| PX{number} | {number} |\n" for number in range(60))


@pytest.mark.parametrize("above", ["", "# Parts\n\n", "Some words.\n\n", "> Quoted.\n\n"])
def test_each_piece_of_a_table_has_its_header_once(above: str) -> None:
    text = f"{above}{TABLE}\nAfterwards.\n"

    chunks = cut(text, maximum=60)
    shown = [each.text(text) for each in chunks]

    assert len(chunks) > 3
    assert all(each.count("| Part | Price |\n|---|---|\n| PX") == 1 for each in shown if "| PX" in each)
    assert all(each.embedded.endswith(piece) for each, piece in zip(chunks, shown, strict=True))
    assert all(len(tokenize(each.embedded)) + 2 <= 60 for each in chunks)
    assert [f"PX{number} " in "".join(shown) for number in range(60)] == [True] * 60


@pytest.mark.parametrize("separator", [",", ";", "\t", " | "])
def test_each_piece_of_lines_with_columns_has_the_names_of_the_columns_once(separator: str) -> None:
    names = separator.join(("part", "site", "price"))
    text = f"{names}\n" + "".join(f"{separator.join((f'PX{at}', '', str(at)))}\n" for at in range(60))

    chunks = cut(text, maximum=40, media_type="text/plain")
    shown = [each.text(text) for each in chunks]

    assert len(chunks) > 3
    assert all(each.startswith(names) and each.count("price") == 1 for each in shown)
    assert [any(f"PX{at}{separator}" in each for each in shown) for at in range(60)] == [True] * 60


@pytest.mark.parametrize(
    "line", ["12:00:01,123 INFO started, all well", '{"part": 4, "site": "Graz"}', "First, a word and then some more"]
)
def test_lines_that_are_no_rows_repeat_nothing(line: str) -> None:
    text = "".join(f"{line}{'' if at % 2 else ', too'}\n" for at in range(60))

    assert all(each.header is None for each in cut(text, maximum=60, media_type="text/plain"))


def test_a_piece_of_a_list_stands_below_the_item_or_the_sentence_that_it_belongs_to() -> None:
    gates = "".join(f"  - gate {at} opens with a badge\n" for at in range(30))
    apis = "".join(f"- door {at} opens with a code\n" for at in range(30))
    text = f"# Access\n\nOnly on weekdays:\n\n- Zone North is strict\n{gates}\nOnly at night:\n\n{apis}\nAfterwards.\n"

    shown = [each.text(text) for each in cut(text, maximum=50)]

    assert all("- Zone North is strict\n" in each for each in shown if "gate" in each)
    assert all("Only at night:\n" in each for each in shown if "door" in each)
    assert all(each.count("Zone North") <= 1 and each.count("Only at night") <= 1 for each in shown)


def test_a_header_that_would_take_more_than_half_is_left_out() -> None:
    wide = f"| {words('column', 30)} |\n|---|\n" + "".join(f"| {words('cell', 8)} |\n" for _ in range(20))

    assert all(each.header is None for each in cut(wide, maximum=50))
