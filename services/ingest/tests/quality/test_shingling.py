"""What fingerprints are made of: the same numbers whichever texts are read together."""

import re

import pytest

from tidemill_ingest.quality.fingerprint import BANDS, Fingerprint, similarity
from tidemill_ingest.quality.shingling import fingerprint, fingerprints

WITHIN = 100_000
BASE, MASK = 0x9E3779B97F4A7C15, 2**64 - 1
TEXTS = (
    "one two three four five six seven",
    "",
    "two words",
    "…!?",
    "Straße und Gaße, ÉTÉ et été; naïve 123-456",
    "港口的船在早上离开。",
    "one two three four five six seven",
    " ".join(f"word{number}" for number in range(2_000)),
    "\U00020000\U00020001 a\U00020002b",
    "five words and no more",
)


def mixed(number: int) -> int:
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & MASK
    return number ^ number >> 31


def polynomial(numbers: list[int]) -> int:
    return mixed(sum(number * pow(BASE, place, 2**64) for place, number in enumerate(numbers)) & MASK)


def plainly(text: str) -> list[int]:
    """Return the shingles of a text of one script, made as the words say."""
    words = [polynomial([ord(character) for character in word]) for word in re.findall(r"[^\W_]+", text.casefold())]
    run = min(5, len(words))
    return sorted({polynomial(words[at : at + run]) for at in range(len(words) - run + 1)}) if words else []


def shingles(made: Fingerprint) -> list[int]:
    return memoryview(made.shingles).cast("Q").tolist()


def test_texts_that_are_read_together_have_the_fingerprints_of_each_alone() -> None:
    assert fingerprints(TEXTS, within=WITHIN) == [fingerprint(text, within=WITHIN) for text in TEXTS]
    assert fingerprints([], within=WITHIN) == []


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[2], TEXTS[4], TEXTS[9], "a a a a a a a b"])
def test_shingles_are_runs_of_words_as_numbers(text: str) -> None:
    made = fingerprint(text, within=WITHIN)

    assert shingles(made) == plainly(text)
    assert made.shingle_count == len(plainly(text))


def test_a_text_without_words_has_no_bands_and_each_ideograph_is_a_word() -> None:
    empty, marks, chinese = (fingerprint(TEXTS[at], within=WITHIN) for at in (1, 3, 5))

    assert (empty.bands, marks.bands, empty.shingle_count) == ((), (), 0)
    assert chinese.shingle_count == 9 - 5 + 1
    assert len(chinese.bands) == BANDS


def test_bands_of_nearly_the_same_text_are_partly_the_same_and_keys_name_their_band() -> None:
    words = [f"word{number}" for number in range(200)]
    one, other = fingerprints([" ".join(words), " ".join([*words[:90], "else", *words[91:]])], within=WITHIN)

    assert similarity(one, other) == pytest.approx(191 / 201)
    assert 0 < len({*one.bands} & {*other.bands}) < BANDS
    assert [band[:3] for band in one.bands] == [f"{number:02}-" for number in range(BANDS)]
    assert all(re.fullmatch(r"\d\d-[0-9a-f]{16}", band) for band in one.bands)
