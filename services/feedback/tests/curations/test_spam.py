"""Corrections that say nothing."""

import pytest

from services.feedback.tests.builders import ADA
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_feedback.curations.spam import spam_in

ENGLISH = "The refund is paid to the card that was charged for the order within fourteen days."
GERMAN = "Die Erstattung wird innerhalb von vierzehn Tagen auf die belastete Karte gezahlt, nicht später."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ENGLISH, ""),
        ("42", ""),
        ("No.", ""),
        ("See https://docs.acme.example/refunds, section 2.", ""),
        ("No no, it is free.", ""),
        ("€ € \u2192 _", "NO_WORDS"),
        ("\U0001f44d\U0001f44d", "NO_WORDS"),
        ("https://evil.example/a www.evil.example", "ONLY_LINKS"),
        ("buy buy Buy now buy", "WORDS_REPEATED"),
        ("the best offer is here " * 4, "WORDS_REPEATED"),
        (GERMAN, "OTHER_LANGUAGE"),
    ],
)
def test_spam_has_a_reason(text: str, reason: str) -> None:
    assert spam_in(text, answer=ENGLISH) == reason


def test_the_language_of_short_answers_is_not_guessed() -> None:
    assert spam_in(GERMAN, answer="It is free.") == ""
    assert spam_in(GERMAN, answer="") == ""


async def test_spam_is_left_out_where_the_rule_says_so_and_checked_when_it_does() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100, max_repeats=5)
    await harness.correct(1, text="https://evil.example")
    await harness.correct(2)
    await harness.work()
    assert (await harness.crud.get(ADA, "sft")).counts.refused == {}

    await change(harness, exclude_spam=True, max_repeats=5)
    await harness.work()

    counts = (await harness.crud.get(ADA, "sft")).counts
    assert (counts.refused, counts.examples, counts.pending) == ({"ONLY_LINKS": 1}, 1, 0)
