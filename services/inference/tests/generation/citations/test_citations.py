import string
import time

import pytest

from tidemill_inference.generation.citations.citations import ground, sentences_of, support_of, tokens_of
from tidemill_inference.generation.domain.content import Citation, Passage


def passage(number: str, text: str) -> Passage:
    return Passage(id=number, document="d", version=1, start=0, end=len(text), score=0.5, text=text)


WALK = passage("1", "os.walk generates the file names in a directory tree by walking the tree.")
DUMPS = passage("2", "json.dumps serializes an object to a JSON formatted string.")


@pytest.mark.parametrize(
    "written",
    [
        "row = table [1]; sys.argv[1], f()[0] and x[1]",
        "Write `row = table [1]` or ``xs [2]``; the default is `[1]`.",
        "Use this:\n```python\nfor i in range(3):\n    row [1]\n```\n",
        "~~~\nrow [1]\n",
        '{"sizes": [1], "ids": [2, 1]}',
        "return [1]",
        "- [1] done\n[2]: https://example.com\nsee [1](https://example.com)",
    ],
)
def test_numbers_in_brackets_that_are_code_or_data_cite_nothing(written: str) -> None:
    assert ground(written, [WALK, DUMPS]).citations == ()


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("Blue cows sing [1].", ["1"]),
        ("Blue cows sing [1][2].", ["1", "2"]),
        ("Blue cows sing [1], [2].", ["1", "2"]),
        ("Blue cows sing [2, 9].", ["2"]),
        ("Blue cows sing. [2]", ["2"]),
        ("Blue cows **sing** [1] and `dance` [2].", ["1", "2"]),
        ("Blue cows sing ([2]).", ["2"]),
        ("[2] Blue cows sing.", ["2"]),
        ("1. Blue cows sing [2].", ["2"]),
        ("青い牛が歌う[2]。", ["2"]),
        ("Blue cows sing [9].", []),
    ],
)
def test_markers_in_prose_are_honoured(written: str, named: list[str]) -> None:
    assert [each.passage for each in ground(written, [WALK, DUMPS]).citations] == named


def test_a_number_that_a_passage_itself_has_in_brackets_is_no_marker() -> None:
    grounding = ground("Blue cows sing [2].", [passage("1", "Otherwise [2] is taken."), DUMPS])

    assert grounding.citations == ()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "unit", [*string.printable, *"\u00ab\u201c\u201e\u2018\u00a0\u2028\u3002\u65e5", "[1] ", "a. ", "`a` "]
)
def test_a_megabyte_of_anything_takes_no_time(unit: str) -> None:
    text = (unit * 2**20)[: 2**20]

    def took_s() -> float:
        began = time.thread_time()
        ground(text, [WALK, DUMPS])
        return time.thread_time() - began

    assert any(took_s() < 0.5 for _ in range(3))  # a tenth of it on a machine of its own; minutes where it is quadratic


@pytest.mark.heavy
@pytest.mark.parametrize("unit", ["1 ", "million ", "$1 "])
def test_many_numbers_beside_as_many_of_a_passage_take_no_time(unit: str) -> None:
    said, known = (unit * 16_000)[:32_000], (unit * 5000)[:10_000]

    def took_s() -> float:
        began = time.thread_time()
        ground(said, [passage(str(number), known) for number in range(1, 4)])
        return time.thread_time() - began

    assert any(took_s() < 1.0 for _ in range(3))  # each number beside each takes two


def test_a_sentence_cites_the_passage_that_supports_it_best() -> None:
    text = "It serializes an object to a string. Walking the tree generates file names. Blue cows sing."

    grounding = ground(text, [WALK, DUMPS])

    assert [(text[each.start : each.end], each.passage) for each in grounding.citations] == [
        ("It serializes an object to a string.", "2"),
        ("Walking the tree generates file names.", "1"),
    ]
    assert grounding.valid == pytest.approx(2 / 3)


def test_a_marker_is_honoured_and_supports_nothing() -> None:
    grounding = ground("Blue cows sing [2].", [WALK, DUMPS])

    assert grounding.citations == (Citation(start=0, end=19, passage="2"),)
    assert grounding.valid == 0.0


def test_without_passages_nothing_is_cited_and_nothing_valid() -> None:
    grounding = ground("os.walk walks.", [])

    assert (grounding.citations, grounding.valid) == ((), None)


def test_support_is_the_share_of_a_sentences_tokens_that_occur_in_the_passage() -> None:
    assert support_of(tokens_of("The tree, a TREE of blue!"), frozenset(tokens_of(WALK.text))) == 0.5
    assert tokens_of("The tree, a TREE of blue!") == ["tree", "tree", "of", "blue"]


def test_spans_count_code_points_and_leave_out_the_space_between() -> None:
    text = "  Das 🙂 ist gut.  Dr. Smith uses e.g. os.walk in Python 3.11. [1] Does it?\n\n- one\n日本語です。 "

    spans = [text[start:end] for start, end in sentences_of(text)]

    assert spans[:3] == ["Das 🙂 ist gut.", "Dr. Smith uses e.g. os.walk in Python 3.11. [1]", "Does it?"]
    assert all(span == span.strip() for span in spans)


def test_languages_without_spaces_are_compared_by_character() -> None:
    grounding = ground("日本語の文書です", [passage("1", "これは日本語の文書です。")])

    assert grounding.valid == 1.0
