import pytest

from tidemill_evaluator.evaluations.domain.metrics import scores_of, token_f1
from tidemill_evaluator.evaluations.domain.results import CaseAnswer
from tidemill_evaluator.gates.domain.gate import METRICS


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


def test_an_answer_has_a_score_by_every_metric() -> None:
    scores = scores_of("it is 7", CaseAnswer(text="it is 7!", citation_valid=0.5), rouge_l=0.9)

    assert scores == {"rouge_l": 0.9, "token_f1": 1.0, "citation_valid": 0.5, "output_chars": 8.0}


def test_an_answer_without_citations_worked_out_counts_as_citing_nothing() -> None:
    assert scores_of("it is 7", CaseAnswer(text="it is 7"), rouge_l=1.0)["citation_valid"] == 0.0


def test_a_failure_scores_nothing_by_every_metric() -> None:
    assert scores_of("", CaseAnswer(text="", failure="INTERNAL"), rouge_l=1.0) == dict.fromkeys(METRICS, 0.0)
