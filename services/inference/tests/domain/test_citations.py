import pytest

from tidemill_inference.domain.citations import MarkerFilter, ground, sentences_of, support_of, tokens_of
from tidemill_inference.domain.content import Citation, Passage


def passage(number: str, text: str) -> Passage:
    return Passage(id=number, document="d", version=1, start=0, end=len(text), score=0.5, text=text)


WALK = passage("1", "os.walk generates the file names in a directory tree by walking the tree.")
DUMPS = passage("2", "json.dumps serializes an object to a JSON formatted string.")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("It walks [1]. Then [7] stops.", "It walks [1]. Then stops."),
        ("See [1][9] and [2].", "See [1] and [2]."),
        ("[9] starts", " starts"),
        ("it ends [9]", "it ends"),
        ("sys.argv[1] and f()[0] and x[9]", "sys.argv[1] and f()[0] and x[9]"),
        ("the list [4, 8, 15] stays", "the list [4, 8, 15] stays"),
        ("both [1, 2] stay", "both [1, 2] stay"),
        ("open [12", "open [12"),
        ("a footnote[^1] and [link](x) and [x]", "a footnote[^1] and [link](x) and [x]"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_only_markers_that_name_a_passage_stay_however_the_text_comes(written: str, kept: str, size: int) -> None:
    markers = MarkerFilter(["1", "2"])

    pieces = [markers.feed(written[at : at + size]) for at in range(0, len(written), size)]

    assert "".join(pieces) + markers.end() == kept


def test_text_without_brackets_is_not_held_back() -> None:
    markers = MarkerFilter(["1"])

    assert [markers.feed(piece) for piece in ["It", " walks", " a", " tree."]] == ["It", " walks", " a", " tree."]


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
