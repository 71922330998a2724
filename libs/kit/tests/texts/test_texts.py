"""What texts are compared by: numbers that are stored, so that each release has to make the same."""

import hashlib

from tidemill_kit.texts.minhash import HASHES, sketches
from tidemill_kit.texts.repetition import repeated_words

SENTENCE = "A refund is paid within fourteen days to the card that was charged for the order."
OF_WORDS = "57ce7d5ba40d1a786e9df127bd0e07f6b99527ac5827ebea4cce48d087222db3"
OF_RUNS = "49195b0d2e8c3d72e07ffe22be1eee4842d8256e591bcc15bfeb9a7cc32d7ce4"


def test_words_are_the_numbers_that_earlier_releases_stored() -> None:
    found = sketches(["It is free.", "IT  is free!", "\u9000\u6b3e", ""], run=1)

    assert [len(each) for each in found.shingles] == [3, 3, 2, 0], "an ideograph is a word"
    assert found.shingles[0].tolist() == [2906511150289469886, 3157591814357055206, 3358133296259006070]
    assert found.shingles[0].tolist() == found.shingles[1].tolist()
    assert found.minima[0][:2].tolist() == [7050094444063251246, 1250034065834029286]
    assert set(found.minima[3].tolist()) == {2**64 - 1}


def test_minima_of_words_and_of_runs_are_those_that_earlier_releases_stored() -> None:
    minima = {run: sketches([SENTENCE], run=run).minima for run in (1, 5)}

    assert {each.shape for each in minima.values()} == {(1, HASHES)}
    assert {run: hashlib.sha256(each.tobytes()).hexdigest() for run, each in minima.items()} == {
        1: OF_WORDS,
        5: OF_RUNS,
    }


def test_the_share_of_words_in_runs_that_repeat() -> None:
    assert repeated_words("the best offer is here " * 4) == 1
    assert repeated_words("a b c d e x a b c d e y z w q r") == 10 / 16
    assert repeated_words("a b c d e a b c d") == 0, "of fewer than ten words none repeats"
    assert repeated_words(SENTENCE) == 0
