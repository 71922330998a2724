"""What corrections are compared by."""

from dataclasses import replace

import pytest

from services.feedback.tests.builders import prompt_of
from tidemill_feedback.curations.domain.example import Prompt, Turn
from tidemill_feedback.curations.domain.measures import SIGNATURE_BYTES, Answers, Measures
from tidemill_feedback.curations.measuring import measure
from tidemill_feedback.curations.ports import MeasuredText

LONG = "A refund is paid within fourteen days to the card that was charged for the order."


async def measured(text: str, prompt: Prompt | None = None, *, key: str = "acme/sft/1") -> Measures:
    [found] = await measure([MeasuredText(prompt=prompt or prompt_of("i1"), text=text)], key=key, find_spam=False)
    return found


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("It is free.", True),
        ("  it IS\n(free)! ", True),
        ("It is not free.", False),
        ("It is 3.5.", False),
    ],
)
async def test_an_answer_is_the_same_but_for_case_marks_and_white_space(text: str, *, same: bool) -> None:
    assert ((await measured(text)).answer == (await measured("It is free")).answer) is same


async def test_a_mark_in_a_number_is_a_part_of_it() -> None:
    assert len({(await measured(text)).answer for text in ("3.5", "35", "-35", "3,5")}) == 4


@pytest.mark.parametrize(
    "texts",
    [
        ("10² m", "102 m"),
        ("10⁶", "106"),
        ("x₂", "x2"),
        ("It takes 5 mW.", "It takes 5 MW."),
        ("5mW", "5MW"),
        ("It is 5' long.", 'It is 5" long.', "It is 5 long."),
    ],
)
async def test_what_makes_another_number_makes_another_answer(texts: tuple[str, ...]) -> None:
    assert len({(await measured(text)).answer for text in texts}) == len(texts)


async def test_quotes_around_a_number_and_ways_to_write_a_letter_make_none() -> None:
    assert (await measured('"5", or so')).answer == (await measured("5 or so")).answer
    assert (await measured("caf\u00e9")).answer == (await measured("Cafe\u0301")).answer


async def test_equal_texts_of_two_projects_or_incarnations_are_not_equal_when_read() -> None:
    found = [await measured("yes", key=key) for key in ("acme/sft/1", "acme/sft/2", "other/sft/1")]

    assert len({each.answer for each in found}) == len({each.question for each in found}) == 3


async def test_a_question_is_another_after_other_messages_for_other_readers_and_with_other_variables() -> None:
    prompt = prompt_of("i1")
    others = [
        replace(prompt, question="What is i2?"),
        replace(prompt, earlier=(Turn(role="user", text="Bye"),)),
        replace(prompt, principals=("guests",)),
        replace(prompt, variables={"plan": "pro"}),
    ]

    found = [await measured(LONG, each) for each in (prompt, *others)]

    assert len({each.question for each in found}) == 5
    assert (await measured(LONG, replace(prompt, question="what is I1"))).question == found[0].question


async def test_a_long_correction_is_nearly_the_same_with_another_word_and_a_short_one_is_not() -> None:
    texts = [LONG, LONG.replace("fourteen", "thirty"), "It is free for all.", "It is free for us.", "Another one."]
    found = [await measured(text) for text in texts]
    answers = Answers()

    assert [answers.number(each) for each in found] == [0, 0, 1, 2, 3]
    assert [len(each.signature) for each in found] == [SIGNATURE_BYTES, SIGNATURE_BYTES, 0, 0, 0]


async def test_a_signature_is_the_one_that_earlier_releases_stored() -> None:
    assert (await measured(LONG)).signature[:8].hex() == "f129ea9ab4170eb5"


async def test_measures_hold_no_word_and_odd_characters_are_measured() -> None:
    found = await measured("secret \ud800 \u3164 text", replace(prompt_of("i1"), question="\udfff"))

    assert "secret" not in repr(found)
