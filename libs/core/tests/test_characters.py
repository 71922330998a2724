import time

import pytest

from tidemill_core.characters import clean, printable, same_words, says_something


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "\u200b",
        "\ufeff\u200b\u200d",
        "\u2800",
        "\u3164",
        "\u00ad",
        "...",
        "\u2026",
        "-- ?!",
        "\u0301",
        "\x00",
    ],
)
def test_a_text_of_nothing_visible_but_punctuation_says_nothing(text: str) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["a", "7", "==", "\U0001f44d", "\u0928", "(x)", "\u6587"])
def test_a_letter_a_number_or_a_symbol_says_something(text: str) -> None:
    assert says_something(text)


@pytest.mark.parametrize(
    "other", ["No, never.\u200b", " No,  never.\n", "N\u00ado, never.", "\uff2eo, never.", "No,\x00 never."]
)
def test_texts_that_read_the_same_are_the_same(other: str) -> None:
    assert same_words("No, never.", other)


def test_capitals_and_negations_are_no_detail() -> None:
    assert not same_words("us", "US")
    assert not same_words("It is paid.", "It is not paid.")


def test_terminal_escapes_and_direction_overrides_are_cleaned_away_and_joiners_stay() -> None:
    assert clean("\x1b[31mred\x1b]0;x\x07 \u202eabc") == "[31mred]0;x abc"
    assert clean("\u062e\u0627\u0646\u0647\u200c\u0647\u0627") == "\u062e\u0627\u0646\u0647\u200c\u0647\u0627"


def test_what_is_printed_carries_no_command_for_the_terminal() -> None:
    assert printable("a\x1b]52;c;ZXZpbA==\x07\x9b31m\r\u202eb\n\tc") == "a]52;c;ZXZpbA==31mb\n\tc"


@pytest.mark.heavy
@pytest.mark.parametrize("run", ["a\u0301", "\u0301", "\u200b", "\x00", " ", "."])
def test_comparing_is_linear_in_the_text(run: str) -> None:
    begun = time.process_time()
    same_words(run * 200_000, "x")
    assert time.process_time() - begun < 5.0
