"""Corrections that say nothing."""

from dataclasses import replace

import pytest

from services.feedback.tests.builders import ADA, prompt_of
from services.feedback.tests.changed_rules import change
from services.feedback.tests.curations.test_counting import refused, row
from services.feedback.tests.harness import FeedbackHarness
from tidemill_feedback.curations.domain.agreement import measures_of
from tidemill_feedback.curations.domain.example import Turn
from tidemill_feedback.curations.measuring import measure
from tidemill_feedback.curations.ports import MeasuredText
from tidemill_feedback.curations.spam import spam_in

ENGLISH = "The refund is paid to the card that was charged for the order within fourteen days."
ASKED = "When do I get back what I paid for an order that I have returned?"
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
        ("| Name | Age |\n|---|---|\n| Bob | 5 |\n| Eve | 7 |", ""),
        ("| Plan | Price | Users |\n| --- | --- | --- |\n| Basic | 10 | 5 |\n| Pro | 20 | 50 |", ""),
        ("| buy | buy | buy |\n|---|---|---|\n| now | buy | buy |", "WORDS_REPEATED"),
    ],
)
def test_spam_has_a_reason(text: str, reason: str) -> None:
    assert spam_in(text, question=ASKED, answer=ENGLISH) == reason


def test_a_correction_into_the_language_of_the_question_is_none() -> None:
    assert spam_in(GERMAN, question="Wann wird mir das Geld für die Bestellung erstattet?", answer=ENGLISH) == ""


@pytest.mark.parametrize("rater", ["reviewer", "judge"])
def test_the_language_of_reviewers_and_judges_is_not_questioned(rater: str) -> None:
    rows = [row(1), row(2, rater=rater)]
    spam = [replace(each, measures=replace(measures_of(each), spam="OTHER_LANGUAGE")) for each in rows]

    assert refused(spam, exclude_spam=True) == {"f01": "OTHER_LANGUAGE"}


async def test_the_question_is_what_the_user_wrote_before_as_well() -> None:
    prompt = replace(prompt_of("i1"), question="Wann?", answer=ENGLISH)
    asked = (
        Turn(role="user", text="Ich habe etwas bestellt und zurückgeschickt."),
        Turn(role="assistant", text=ENGLISH),
    )
    english = tuple(replace(turn, text=ASKED) for turn in asked)

    found = [
        await measure([MeasuredText(prompt=replace(prompt, earlier=earlier), text=GERMAN)], key="", find_spam=True)
        for earlier in (asked, english)
    ]

    assert [measures.spam for [measures] in found] == ["", "OTHER_LANGUAGE"]


def test_the_language_of_short_questions_and_answers_is_not_guessed() -> None:
    assert spam_in(GERMAN, question=ASKED, answer="It is free.") == ""
    assert spam_in(GERMAN, question=ASKED, answer="") == ""
    assert spam_in(GERMAN, question="When?", answer=ENGLISH) == ""


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
