import random
import subprocess
import sys

import pytest

from tidemill_evaluator.adapters.bootstrap_intervals import BootstrapIntervals
from tidemill_evaluator.adapters.rouge_scores import RougeScores
from tidemill_evaluator.domain.words import words_of

INTERVALS = BootstrapIntervals(resamples=2000)


async def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_without_stemming() -> None:
    scores = await RougeScores().rouge_l("the cat runs home", ["the cat runs home", "the cat ran home", "dogs", ""])

    assert list(scores) == pytest.approx([1.0, 0.75, 0.0, 0.0])


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("Париж — столица Франции", "Столица Франции: Лион", 2 / 3),
        ("où est le café", "où est le cafe\u0301", 1.0),  # composed and decomposed are the same word
        ("café", "caf", 0.0),
        ("東京は首都です。", "首都は東京です", 4 / 7),  # no spaces: each character is a word
        ("हिन्दी भाषा", "हिन्दी", 2 / 3),  # vowel signs are part of their word
    ],
)
async def test_rouge_l_knows_the_words_of_every_script(reference: str, text: str, expected: float) -> None:
    assert list(await RougeScores().rouge_l(reference, [text])) == pytest.approx([expected])


def test_the_words_of_ascii_text_are_those_of_rouge_scores_own_tokenizer() -> None:
    from rouge_score.tokenizers import DefaultTokenizer  # noqa: PLC0415 - loads nltk

    chance = random.Random(7)  # noqa: S311 - no secret
    texts = ["It's 3.5 snake_case words, e-mail@x.org!", "", "...", "\t\nA1 b2"]
    texts += ["".join(chr(chance.randrange(128)) for _ in range(200)) for _ in range(200)]

    assert [words_of(text) for text in texts] == [DefaultTokenizer().tokenize(text) for text in texts]


async def test_a_clear_gain_has_its_interval_above_zero_and_around_the_mean() -> None:
    differences = [0.4, 0.5, 0.6, 0.3, 0.7, 0.5, 0.45, 0.55] * 6

    interval = await INTERVALS.of_mean(differences, confidence=0.95, seed=7)

    assert 0.4 < interval.low < sum(differences) / len(differences) < interval.high < 0.6


async def test_the_same_seed_gives_the_same_interval_and_more_confidence_a_wider_one() -> None:
    differences = [0.1, -0.2, 0.5, 0.0, 0.3, 0.9, -0.1]

    one, same, wider = [
        await INTERVALS.of_mean(differences, confidence=confidence, seed=7) for confidence in (0.9, 0.9, 0.99)
    ]

    assert one == same
    assert wider.low < one.low
    assert one.high < wider.high


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 123.0])
async def test_where_all_differences_are_the_same_the_interval_is_that_point(value: float) -> None:
    interval = await INTERVALS.of_mean([value] * 37, confidence=0.95, seed=7)

    assert [interval.low, interval.high] == pytest.approx([value, value])


@pytest.mark.parametrize("differences", [[0.0, 1.0], [0.0] * 59 + [1.0], [1.0] * 59 + [0.0], [0.5]])
async def test_few_and_lopsided_differences_have_finite_bounds(differences: list[float]) -> None:
    interval = await INTERVALS.of_mean(differences, confidence=0.95, seed=7)

    assert min(differences) <= interval.low <= interval.high <= max(differences)


@pytest.mark.filterwarnings("ignore:The BCa confidence interval")
async def test_where_bca_is_not_defined_the_percentile_interval_takes_its_place() -> None:
    few = BootstrapIntervals(resamples=2)  # every resample is above the mean of the sample, or none is

    found = [await few.of_mean([0.0] * 40 + [1.0], confidence=0.95, seed=seed) for seed in range(20)]

    assert all(0.0 <= interval.low <= interval.high <= 1.0 for interval in found)


def test_a_service_at_rest_has_no_statistics_in_memory() -> None:
    program = "import sys, tidemill_evaluator.app; print({'numpy', 'scipy', 'nltk', 'rouge_score'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "set()"
