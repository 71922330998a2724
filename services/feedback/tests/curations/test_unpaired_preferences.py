"""Curations of ratings: the model's own answer, which is good or bad."""

import json

import pytest

from services.feedback.tests.builders import ADA, rating, rule_with, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.errors import InvalidInput
from tidemill_feedback.curations.domain.example import ExampleKind
from tidemill_feedback.reactions.domain.feedback import Feedback

UNPAIRED = ExampleKind.UNPAIRED_PREFERENCE
RATED = {"kind": UNPAIRED, "feedback": ("rating",)}


async def rate(harness: FeedbackHarness, number: int, value: float) -> Feedback:
    if ("acme", f"i{number}") not in harness.inferences.answers:
        harness.inferences.put(f"i{number}", end_user=f"u{number}")
    return await harness.give(rating(value, inference=f"i{number}"))


async def rated(*values: float, **rule: object) -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.curate(**{**RATED, "new_examples": len(values), **rule})
    for number, value in enumerate(values):
        await rate(harness, number, value)
    return harness


def lines_of(harness: FeedbackHarness) -> dict[str, bool]:
    lines = [json.loads(line) for line in harness.batch()]
    return {line["inference"]: line["label"] for line in lines}


async def test_a_line_has_the_answer_and_whether_it_is_good() -> None:
    harness = await rated(1, 0, 0.5)
    await harness.work()

    assert lines_of(harness) == {"i0": True, "i1": False, "i2": True}
    line = json.loads(harness.batch()[0])
    assert line["kind"] == "EXAMPLE_KIND_UNPAIRED_PREFERENCE"
    assert line["output"] == {"role": "ROLE_ASSISTANT", "parts": [{"text": "It is wrong."}]}
    assert "rejected" not in line


async def test_the_threshold_is_the_rule_s() -> None:
    harness = await rated(0.9, 0.7, rating_threshold=0.8)
    await harness.work()

    assert lines_of(harness) == {"i0": True, "i1": False}


async def test_a_later_rating_replaces_the_earlier_and_a_withdrawn_one_is_none() -> None:
    harness = await rated(1, 1, 1, new_examples=2)
    withdrawn = await rate(harness, 0, 1)
    await rate(harness, 1, 0)
    await harness.read.withdraw(ADA, withdrawn.id, write())
    await harness.record(ADA, withdrawn.id)
    await harness.work()

    assert lines_of(harness) == {"i1": False, "i2": True}


async def test_corrections_and_ratings_feed_the_curations_that_take_them() -> None:
    harness = await rated(1, new_examples=1)
    await harness.correct(0)
    await harness.correct(1)
    await harness.work()

    assert lines_of(harness) == {"i0": True}
    assert {row.candidate.metric for row in harness.ledger.stored.values()} == {"rating"}


async def test_ratings_from_before_the_curation_and_before_its_change_count() -> None:
    harness = FeedbackHarness()
    await rate(harness, 0, 1)
    await harness.curate(new_examples=1)
    await harness.work()
    assert not harness.completions

    await change(harness, **RATED)
    await harness.work()

    assert lines_of(harness) == {"i0": True}


async def test_a_rating_of_an_answer_without_text_is_filtered_and_says_so() -> None:
    harness = await rated(1, 0, new_examples=1)
    harness.inferences.silent.add("i0")
    await harness.work()

    assert lines_of(harness) == {"i1": False}
    assert (await harness.crud.get(ADA, "sft")).counts.filtered == 1
    assert {row.failure for row in harness.ledger.stored.values()} == {"", "ANSWER_NOT_RECORDED"}


async def test_the_length_of_the_answer_is_what_is_filtered_by() -> None:
    harness = await rated(1, max_output_chars=5)
    await harness.work()

    assert not harness.completions
    assert (await harness.crud.get(ADA, "sft")).counts.filtered == 1


async def test_an_erased_user_s_ratings_leave_the_curation() -> None:
    harness = await rated(1, 0, new_examples=1)
    await harness.erase(ADA, "u0", write())
    await harness.work()

    assert lines_of(harness) == {"i1": False}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"kind": UNPAIRED},
            r"feedback: is \[correction\]; examples of kind unpaired_preference are made of \[rating\]",
        ),
        ({"feedback": ("rating",)}, "examples of kind demonstration are made of"),
        ({"feedback": ()}, r"feedback: is \[\]"),
        ({**RATED, "max_repeats": 3}, "max_repeats: is 3; only corrections are compared"),
        ({**RATED, "min_rater_reliability": 0.2}, r"min_rater_reliability: is 0\.2; only corrections are compared"),
        ({**RATED, "exclude_spam": True}, "exclude_spam: is True; only corrections are compared"),
        ({**RATED, "exclude_contradicted": True}, "exclude_contradicted: is True; only corrections are compared"),
        ({**RATED, "rating_threshold": 1.5}, r"rating_threshold: is 1\.5; use 0 to 1"),
        ({**RATED, "rating_threshold": float("nan")}, "rating_threshold: is nan"),
    ],
)
async def test_a_rule_that_makes_nothing_is_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        await FeedbackHarness().crud.create(ADA, "sft", rule_with(**rule), write())
