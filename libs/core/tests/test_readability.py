"""How hard texts are to read."""

import pytest

from tidemill_core.readability import Prose

EASY = "The cat sat. The dog ran."
HARD = "Printers without cartridges usually remain silent; nevertheless administrators frequently restart everything."


def test_lix_is_the_length_of_sentences_and_the_share_of_long_words() -> None:
    assert Prose.of(EASY).lix() == 3.0
    assert Prose.of(HARD).lix() == pytest.approx(11 / 2 + 100 * 9 / 11)


@pytest.mark.parametrize(
    ("text", "lix"),
    [
        ("Yes.", 1.0),
        ("yes", 1.0),
        ("Der Zug f\u00e4hrt. Er h\u00e4lt.", 2.5),
        ("Wait... what?!", 1.0),
        ("One\n\nTwo", 2.0),
        ("Para one is here.\n\nPara two is here.", 4.0),
        ("Para one is here. \r\n\r\n\nPara two is here.", 4.0),
        ('He said "Go." She left (now!) Yes.', 7 / 3),
        ("\u041a\u043e\u0448\u043a\u0430 \u0441\u0438\u0434\u0435\u043b\u0430.", 2.0),
    ],
)
def test_short_texts_of_any_script_with_spaces_have_one(text: str, lix: float) -> None:
    assert Prose.of(text).lix() == pytest.approx(lix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1 2 3 ... ",
        "\u6771\u4eac\u3067\u3059\u3002\u9996\u90fd\u3067\u3059\u3002",
        "\u0e41\u0e21\u0e27\u0e19\u0e31\u0e48\u0e07",
        "x" * 40,
    ],
)
def test_what_has_no_words_to_count_has_none(text: str) -> None:
    assert Prose.of(text).lix() is None


def test_a_text_of_fewer_words_than_are_asked_for_has_none() -> None:
    assert Prose.of(EASY).lix(min_words=7) is None
