"""Scores by libraries, without the processes that they run in."""

import json
from collections.abc import Callable
from typing import Literal

import pytest
import sacrebleu

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.fakes import ProcessesHere, R
from services.evaluator.tests.metrics.odd_strings import odd_pairs
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair
from tidemill_evaluator.metrics.library_metrics import LibraryMetrics
from tidemill_evaluator.metrics.library_scores import (
    ComparedWith,
    bleu,
    chrf,
    follows,
    library_scores,
    meteor,
    tokenizer_of,
)
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_kit.workers.bounded_processes import WorkEndedError


@pytest.mark.parametrize(
    ("reference", "tokenizer"),
    [
        ("The cat sat.", "intl"),
        ("Där är katten", "intl"),
        ("猫坐在垫子上", "zh"),
        ("猫は座っています", "char"),
        ("แมวนั่ง", "char"),
        ("고양이가 앉았다", "intl"),
        ("القطة جلست", "intl"),
        ("", "intl"),
    ],
)
def test_words_are_cut_as_suits_the_script_of_the_reference(reference: str, tokenizer: str) -> None:
    assert tokenizer_of(reference) == tokenizer


def test_a_sample_of_odd_strings_in_ten_languages_has_the_numbers_of_sacrebleu() -> None:
    for reference, text in odd_pairs(40):
        expected = sacrebleu.sentence_bleu(
            text, [reference], smooth_method="exp", tokenize=tokenizer_of(reference), use_effective_order=True
        )
        assert bleu(reference, text) == pytest.approx(min(1.0, expected.score / 100)), (reference, text)
        assert chrf(reference, text) == pytest.approx(min(1.0, sacrebleu.sentence_chrf(text, [reference]).score / 100))


def test_the_same_text_scores_one_and_another_one_zero() -> None:
    for text in ("the cat sat on the mat", "猫坐在垫子上", "猫は座っています", "Кошка сидела на коврике"):
        assert [bleu(text, text), chrf(text, text)] == pytest.approx([1.0, 1.0])
        assert bleu(text, "§ §") < 0.2
        assert chrf(text, "§ §") == 0.0


@pytest.mark.parametrize(
    ("reference", "text", "language", "score"),
    [
        ("The cat sat.", "the cat sat", "", 1 - 0.5 * (1 / 3) ** 3),  # one chunk of three words
        ("the cat sat", "sat the cat", "", 1 - 0.5 * (2 / 3) ** 3),  # in two chunks
        ("the cats sat", "the cat sat", "en", 1 - 0.5 * (1 / 3) ** 3),  # by their stems
        ("the cats sat", "the cat sat", "", 2 / 3 * 0.5),  # each other word alone
        ("die Katzen", "die Katze", "de-CH", 1 - 0.5 * (1 / 2) ** 3),
        ("kattene", "katten", "nb-NO", 0.5),
        ("die Katzen", "die Katze", "tlh", 0.5 * 0.5),
        ("one two three four", "one two", "", 0.5 / (0.9 + 0.1 * 0.5) * (1 - 0.5 * (1 / 2) ** 3)),
        ("yes", "no", "en", 0.0),
        ("yes", "", "en", 0.0),
    ],
)
def test_meteor_counts_words_stems_and_chunks_but_no_synonyms(
    reference: str, text: str, language: str, score: float
) -> None:
    assert meteor(reference, text, language=language) == pytest.approx(score)


def test_meteor_of_odd_strings_is_a_share() -> None:
    assert all(0.0 <= meteor(*pair, language="fr") <= 1.0 for pair in odd_pairs(40))


@pytest.mark.parametrize(
    ("schema", "text", "score"),
    [
        ({"type": "object", "required": ["a"]}, '{"a": 1}', 1.0),
        ({"type": "object", "required": ["a"]}, '{"b": 1}', 0.0),
        ({"type": "array", "minItems": 3.0}, " [1, 2, 3] ", 1.0),
        ({}, "```json\n{}\n```", 0.0),  # nothing but JSON
        ({}, "NaN", 0.0),
        ({}, "", 0.0),
        ({}, "[" * 100_000, 0.0),
        ({"type": "integer"}, "9" * 5000, 0.0),  # read as a float, which is infinite
        ({"type": "number"}, "9" * 300, 1.0),
        ({"pattern": "^a+$"}, '"aaa"', 1.0),
        ({"pattern": "["}, '"aaa"', None),  # refused when a suite is written
        ({"$ref": "#"}, "1", None),  # never ends
    ],
)
def test_json_follows_its_schema_or_does_not(schema: dict[str, object], text: str, score: float | None) -> None:
    assert follows(json.dumps(schema), text) == score


def test_what_a_schema_refers_to_elsewhere_is_not_fetched() -> None:
    with pytest.raises(Exception, match="Unresolvable"):
        follows(json.dumps({"$ref": "http://127.0.0.1:9/schema.json"}), "1")


def test_only_what_is_asked_for_is_computed() -> None:
    assert library_scores(["chrf"], ComparedWith(reference="a b"), "a b") == {"chrf": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        (["cpu"], None),  # the text's doing: it has no value
        (["crashed"], None),
        (["wall", "died"], 1.0),  # the machine's: once more
        (["wall", "died", "wall"], None),
    ],
)
async def test_a_text_that_takes_too_much_has_no_value(
    ends: list[Literal["cpu", "wall", "crashed", "died"]], found: float | None
) -> None:
    processes = ProcessesHere()
    processes.ends = [WorkEndedError(cause=cause, why="") for cause in ends]
    case = Case(id="c1", question="what?", reference="it is 7")

    scores = await LibraryMetrics(processes).scores(
        ADA, ["chrf"], Pair(case=case, baseline=None, candidate=GivenAnswer(text="it is 7"))
    )

    assert (scores.baseline, scores.candidate) == ({}, {"chrf": found})


async def test_a_schema_that_takes_too_much_takes_no_other_score_with_it() -> None:
    class Slow(ProcessesHere):
        async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
            if "json_schema" in str(arguments):
                raise WorkEndedError(cause="cpu", why="")
            return await super().run(project, work, *arguments)

    case = Case(id="c1", question="what?", reference="it is 7", schema={})
    pair = Pair(case=case, baseline=None, candidate=GivenAnswer(text="it is 7"))

    scores = await LibraryMetrics(Slow()).scores(ADA, ["chrf", "json_schema"], pair)

    assert scores.candidate == {"chrf": 1.0, "json_schema": None}
