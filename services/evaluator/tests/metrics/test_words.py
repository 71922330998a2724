import itertools
import random
import re
import time

import pytest

from tidemill_core.rouge import rouge_l
from tidemill_core.words import words_of
from tidemill_evaluator.metrics.domain.words import exact_match, token_f1


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("The cat sat.", "a cat sat", 1.0),  # articles, case and punctuation do not count
        ("one two three four", "one two", 2 / 3),
        ("one one", "one", 2 / 3),  # words are counted, not only named
        ("yes", "no", 0.0),
        ("", "no", 0.0),
        ("the", "", 1.0),  # neither has a word
        ("don't panic", "dont panic!", 1.0),
        ("«Париж», столица", "париж — столица", 1.0),  # punctuation of any script
        ("un café", "un cafe\u0301", 1.0),
        ("東京は首都です。", "首都は東京です", 1.0),  # no spaces: each character is a word
        ("東京", "京都", 0.5),
        ("-5", "5", 0.0),
        ("it is -5", "It is \u22125.", 1.0),  # either minus
        ("pages 3-5", "pages 35", 1.0),  # a hyphen is none: as SQuAD has it
        ("1.5", "15", 0.0),
        ("1.5", "1.5.", 1.0),
        ("C++", "C#", 0.0),
        ("c++", "C++!", 1.0),
        ("x == y", "x != y", 0.5),
        ("x == y", "X == Y.", 1.0),
        ("x==y", "x!=y", 0.0),
        ("==", "!=", 0.0),
        (">=", "<=", 0.0),
        (">=", ">=", 1.0),
        ("...", "!!!", 0.0),
        ("...", " ...", 1.0),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}", 0.0),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS UP SIGN}", 1.0),
        ("The", "", 1.0),
        ("inter\u00adnational", "inter\u200bnational", 1.0),  # invisible difference
        ("ｶﾞﾗｽ ＡＢＣ", "ガラス abc", 1.0),  # noqa: RUF001 - half and full width are meant
    ],
)
def test_words_in_common_are_counted_as_squad_does(reference: str, text: str, expected: float) -> None:
    assert token_f1(reference, text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("The cat sat.", "a Cat sat", 1.0),
        ("one two", "two one", 0.0),
        ("one two", "one two three", 0.0),
        ("-5", "5", 0.0),
        ("it is -5", "It is \u22125.", 1.0),
        ("un café", "un cafe\u0301", 1.0),
        ("東京は首都です。", "東京は首都です", 1.0),
        ("the", "", 1.0),  # neither has a word
        (">=", ">=", 1.0),
        ("...", "!!!", 0.0),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}", 0.0),
        ("yes", "", 0.0),
    ],
)
def test_an_exact_match_is_of_words_as_squad_has_it(reference: str, text: str, expected: float) -> None:
    assert exact_match(reference, text) == expected
    assert expected == 0.0 or token_f1(reference, text) == 1.0


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_without_stemming() -> None:
    scores = [rouge_l("the cat runs home", text) for text in ("the cat runs home", "the cat ran home", "dogs", "")]

    assert scores == pytest.approx([1.0, 0.75, 0.0, 0.0])


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("Париж — столица Франции", "Столица Франции: Лион", 2 / 3),
        ("où est le café", "où est le cafe\u0301", 1.0),  # composed and decomposed are the same word
        ("café", "caf", 0.0),
        ("東京は首都です。", "首都は東京です", 4 / 7),  # no spaces: each character is a word
        ("हिन्दी भाषा", "हिन्दी", 2 / 3),  # vowel signs are part of their word
        ("!!!", "!!!", 1.0),
        ("!!!", "...", 0.0),
        (">=", ">=", 1.0),
        ("==", "!=", 0.0),
        ("x==y", "x!=y", 0.5),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS UP SIGN}", 1.0),
        ("\N{THUMBS UP SIGN}", "", 0.0),
        ("-5", "5", 0.0),
        ("C++", "C#", 0.0),
        ("1.5", "15", 0.0),
        ("inter\u00adnational", "international", 1.0),
    ],
)
def test_rouge_l_knows_the_words_of_every_script(reference: str, text: str, expected: float) -> None:
    assert rouge_l(reference, text) == pytest.approx(expected)


@pytest.mark.heavy
def test_rouge_l_is_the_number_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - loads nltk

    chance = random.Random(3)  # noqa: S311 - no secret
    texts = [" ".join(chance.choices("abcdefgh", k=chance.randrange(1, 60))) for _ in range(60)]
    theirs = RougeScorer(["rougeL"])

    for reference, text in itertools.pairwise(texts):
        expected = theirs.score(reference, text)["rougeL"].fmeasure
        assert rouge_l(reference, text) == pytest.approx(expected)


@pytest.mark.heavy
def test_an_answer_of_a_megabyte_is_scored_in_little_time_and_memory() -> None:
    reference, answer = "a b " * 2000, "b a c " * 170_000
    began = time.process_time()
    score = rouge_l(reference, answer)

    assert 0 < score < 0.1
    assert time.process_time() - began < 20  # a table would have two thousand million cells


def test_the_words_of_ascii_text_are_those_of_rouge_scores_own_tokenizer_but_for_their_marks() -> None:
    from rouge_score.tokenizers import DefaultTokenizer  # noqa: PLC0415 - loads nltk

    chance = random.Random(7)  # noqa: S311 - no secret
    texts = ["It's 3.5 snake_case words, e-mail@x.org!", "", "...", "\t\nA1 b2"]
    texts += ["".join(chr(chance.randrange(128)) for _ in range(200)) for _ in range(200)]

    plain = [[re.sub(r"[^a-z0-9]", "", word) for word in words_of(text)] for text in texts]
    assert [[word for word in words if word] for words in plain] == [
        DefaultTokenizer().tokenize(text) for text in texts
    ]
