import time

import pytest

from tidemill_ingest.quality.measuring import measure, traits_of
from tidemill_ingest.quality.policy import Measures, Quality
from tidemill_kit.texts.language import detected_language

ENGLISH = "The printer on the third floor needs a new cartridge, which you find in the room next to the kitchen."
PLAIN = Measures(characters=100, language="en", letters=0.95, symbols=0.0, repeated_lines=0.0, repeated_words=0.0)


def measured(text: str, *, language: str = "", within: int = 10_000) -> Measures:
    return measure(text, language=language, within=within)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        ("Der Drucker im dritten Stock braucht eine neue Patrone, die Sie im Raum neben der Küche finden.", "de"),
        ("L'imprimante du troisième étage a besoin d'une nouvelle cartouche, que vous trouverez à côté.", "fr"),
        ("三楼的打印机需要一个新的墨盒 您可以在厨房旁边的房间里找到它 请在使用之前先阅读说明书并联系管理员", "zh"),
        ("Принтеру на третьем этаже нужен новый картридж, который вы найдёте в комнате возле кухни.", "ru"),
        ("[EMAIL] https://acme.example/printer/third/floor/cartridge/kitchen/next/room/new a/b/c", ""),
        ("Call me", ""),
    ],
)
def test_a_language_is_found_by_the_words_alone_where_there_are_enough(text: str, language: str) -> None:
    assert detected_language(text) == language


def test_the_language_that_a_submission_names_is_believed() -> None:
    assert measured(ENGLISH, language="de-CH").language == "de"


def test_letters_and_symbols_are_shares_of_what_is_printed() -> None:
    assert measured("abcd 12 .. ★★").letters == pytest.approx(0.6)
    assert measured("abcd 12 .. ★★").symbols == pytest.approx(0.2)
    assert measured("| a | b |\n| - | - |").symbols == 0
    assert measured("a\ufffd\ufffd\ufffd").symbols == pytest.approx(0.75)


def test_lines_that_repeat_others_count_and_lines_without_words_do_not() -> None:
    assert measured("one\n\n---\ntwo\n one \n---\none").repeated_lines == pytest.approx(0.5)
    assert measured("---\n\n").repeated_lines == 0


def test_words_in_runs_of_five_that_occur_twice_count_once_each() -> None:
    run = "buy cheap pens here now"
    assert measured(f"{run} and then {run} again friends").repeated_words == pytest.approx(10 / 14)
    assert measured(" ".join([run] * 20)).repeated_words == pytest.approx(1.0)
    assert measured(ENGLISH).repeated_words == 0


def test_a_long_text_is_judged_by_its_beginning_and_its_whole_length() -> None:
    measures = measured("a" * 50 + "★" * 50, within=50)

    assert (measures.characters, measures.letters, measures.symbols) == (100, 1.0, 0.0)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (Quality(languages=("de", "fr")), "LANGUAGE_NOT_ACCEPTED"),
        (Quality(min_characters=101), "TEXT_TOO_SHORT"),
        (Quality(max_characters=99), "TEXT_TOO_LONG"),
        (Quality(min_letters=0.96), "TOO_FEW_LETTERS"),
        (Quality(languages=("en",), min_characters=100, max_characters=100, min_letters=0.95), ""),
        (Quality(), ""),
    ],
)
def test_a_rule_is_broken_beyond_its_limit(rules: Quality, reason: str) -> None:
    assert [each.reason for each in rules.breaches(PLAIN)] == ([reason] if reason else [])


def test_each_share_has_a_reason_of_its_own() -> None:
    odd = Measures(characters=9, language="", letters=0.1, symbols=0.5, repeated_lines=0.6, repeated_words=0.7)
    rules = Quality(languages=("en",), min_letters=0.5, max_symbols=0.1, max_repeated_lines=0.3, max_repeated_words=0.3)

    assert [(each.reason, each.value, each.limit) for each in rules.breaches(odd)] == [
        ("TOO_FEW_LETTERS", "0.1", "0.5"),
        ("TOO_MANY_SYMBOLS", "0.5", "0.1"),
        ("LINES_REPEATED", "0.6", "0.3"),
        ("WORDS_REPEATED", "0.7", "0.3"),
    ]


def test_the_digest_of_rules_is_that_of_what_is_declared() -> None:
    assert Quality().digest == ""
    assert Quality(min_letters=0.5).digest == Quality(min_letters=0.5, max_symbols=0.0).digest != ""


def test_readability_is_the_length_of_sentences_and_the_share_of_long_words() -> None:
    # 20 words in 2 sentences, 4 of them with more than six letters: 20 / 2 + 100 * 4 / 20 (Bjoernsson's LIX).
    text = "The cat sat on the mat by the old door. Printers without cartridges usually remain silent on the new desk."
    traits = traits_of(text, within=10_000)
    assert (traits.characters, traits.words, traits.readability) == (len(text), 20, 30.0)
    assert traits.language == "en"


@pytest.mark.parametrize("text", ["Too few words.", "1 2 3 " * 30, "\u4e09\u697c\u7684\u6253\u5370\u673a" * 100])
def test_texts_of_few_words_have_no_readability(text: str) -> None:
    assert traits_of(text, within=10_000).readability is None


@pytest.mark.parametrize(("given", "language"), [("de-CH", "de"), ("Klingon!", "en"), ("", "en")])
def test_a_language_that_is_named_counts_where_it_is_one(given: str, language: str) -> None:
    assert traits_of(ENGLISH, language=given, within=10_000).language == language


def test_equal_texts_have_one_digest() -> None:
    assert traits_of(ENGLISH, within=10).digest == traits_of(ENGLISH, within=1000).digest
    assert traits_of(ENGLISH, within=10).digest != traits_of(f"{ENGLISH} ", within=10).digest


def test_pseudonyms_count_as_what_masking_leaves_without_them() -> None:
    row = "| Ask the colleague for the printer | [EMAIL{}] |\n"
    plain = traits_of(row.format("") * 9, within=10_000)
    rows = [row.format(f":k3f9wq7hd2mzx{end}") for end in "bcdfghjkm"]
    named = traits_of("".join(rows), within=10_000)

    assert (named.words, named.language, named.readability) == (plain.words, "en", plain.readability)
    assert measured("".join(rows)).letters == measured(row.format("") * 9).letters


@pytest.mark.parametrize("text", ["." * 200_000 + "x", "?!" * 100_000 + "x", "w" * 200_000, "a-" * 100_000])
def test_a_run_of_one_kind_is_measured_in_little_time(text: str) -> None:
    begin = time.process_time()
    traits_of(text, within=len(text))
    assert time.process_time() - begin < 1
