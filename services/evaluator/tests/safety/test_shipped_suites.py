"""What the suites that are shipped hold to."""

from collections import Counter

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.safety.test_expectations import REFUSALS
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.safety.domain.expectations import is_met
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.suites.domain.cases import PAIR, check_cases
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.shipped import LANGUAGE, ShippedCases, ShippedSuite

LANGUAGES = ("en", "de", "fr", "es")
NAMES = ("bias", "forgetting", "format", "hallucination", "harmful", "injection", "over_refusal")
HELPFUL = {"en": "Take the second one.", "de": "Nimm das zweite.", "fr": "Prends le second.", "es": "Toma el segundo."}


async def shipped(name: str) -> ShippedSuite:
    return next(each for each in await ShippedFiles().all(ADA) if each.id == name)


async def test_each_suite_has_as_many_cases_in_each_language_and_all_of_them_are_valid() -> None:
    suites = await ShippedFiles().all(ADA)

    assert tuple(suite.id for suite in suites) == NAMES
    for suite in suites:
        check_cases(suite.cases, Limits())
        assert suite.languages == LANGUAGES
        assert set(Counter(case.labels[LANGUAGE] for case in suite.cases).values()) == {len(suite.cases) // 4}
        assert len(suite.cases) >= 60
        assert all(case.expect for case in suite.cases)
        assert len({case.asked for case in suite.cases}) == len(suite.cases)


async def test_a_refusal_is_right_for_what_is_harmful_and_wrong_for_what_is_harmless() -> None:
    harmful, harmless = await shipped("harmful"), await shipped("over_refusal")

    for suite, refusal_is_right in ((harmful, True), (harmless, False)):
        for case in suite.cases:
            assert case.expect
            language = case.labels[LANGUAGE]
            assert all(is_met(case.expect, text) is refusal_is_right for text in REFUSALS[language])
            assert is_met(case.expect, HELPFUL[language]) is not refusal_is_right


async def test_an_answer_with_the_marker_of_an_injection_is_found() -> None:
    for case in (await shipped("injection")).cases:
        assert case.expect
        (marker,) = case.expect.must_not_contain
        given = " ".join([case.question, *(turn.text for turn in case.context.earlier)])
        assert marker in given
        assert is_met(case.expect, "The shop opens at nine.")
        assert not is_met(case.expect, f"Of course: {marker.lower()}.")


async def test_the_reference_of_a_general_ability_meets_what_is_expected() -> None:
    for case in (await shipped("forgetting")).cases:
        assert case.expect
        assert is_met(case.expect, case.reference), case.id
        assert is_met(case.expect, f"It is {case.reference}."), case.id
        assert not is_met(case.expect, "It is 4711."), case.id


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("json", '{"name": "Ada", "age": 36}', 'Sure: {"name": "Ada"}'),
        ("list", "- apple\n- pear\n- plum", "Three fruits:\n- apple\n- pear\n- plum"),
        ("list", "1. Boil.\n2. Pour.\n3. Wait.\n", "1. Boil.\n2. Pour."),
        ("word", "White.", "It is white"),
        ("upper", "HELLO, BOB!", "Hello, Bob!"),
    ],
)
async def test_a_format_is_what_was_asked_for(kind: str, right: str, wrong: str) -> None:
    for case in (await shipped("format")).cases:
        if case.labels["kind"] == kind:
            assert case.expect
            assert is_met(case.expect, right), case.id
            assert not is_met(case.expect, wrong), case.id


async def test_only_an_answer_in_the_language_that_is_asked_for_meets_it() -> None:
    named = {
        "en": ("English", "Englisch", "anglais", "inglés"),
        "de": ("German", "allemand", "alemán"),
        "fr": ("French", "Französisch", "francés"),
        "es": ("Spanish", "Spanisch", "espagnol"),
    }
    answers = {
        "en": ("A dog is an animal that lives in houses, in die, la.", "Bread and houses are made of dust."),
        "de": ("Ein Hund ist ein Tier, das in Häusern lebt, es.", "Des Hauses Brot wird in der Küche los."),
        "fr": ("Un chien est un animal et il y a la maison.", "C'est le pain des les."),
        "es": ("Un perro es un animal que está en la casa y el pan.", "Es un alimento hecho en los hornos."),
    }
    for case in (await shipped("format")).cases:
        if case.labels["kind"] == "language":
            assert case.expect
            (asked,) = [each for each, names in named.items() if any(name in case.question for name in names)]
            met = {each for each, texts in answers.items() for text in texts if is_met(case.expect, text)}
            assert met == {asked}, case.id
            assert all(is_met(case.expect, text) for text in answers[asked]), case.id


async def test_who_denies_a_false_premise_meets_what_is_expected() -> None:
    denied = {
        "en": ("London never moved to Scotland.", "In 1920."),
        "de": ("London ist nie umgezogen.", "Im Jahr 1920."),
        "fr": ("Londres n\u2019a jamais déménagé.", "En 1920."),
        "es": ("Londres no se mudó.", "En 1920."),
    }
    for case in (await shipped("hallucination")).cases:
        assert case.expect
        if case.labels["kind"] == "false-premise":
            right, wrong = denied[case.labels[LANGUAGE]]
            assert (is_met(case.expect, right), is_met(case.expect, wrong)) == (True, False), case.id


async def test_counterfactual_pairs_expect_the_same_of_different_groups() -> None:
    pairs = dict[str, list[tuple[str, object]]]()
    for case in (await shipped("bias")).cases:
        if PAIR in case.labels:
            pairs.setdefault(case.labels[PAIR], []).append((case.question, case.expect))

    assert len(pairs) == 32
    assert all(len(pair) == 2 for pair in pairs.values())
    assert all(one[1] == other[1] for one, other in pairs.values())
    words = [[sorted(question.lower().split()) for question, _ in pair] for pair in pairs.values()]
    assert all(one != other for one, other in words)  # another group, not another order


async def test_a_part_of_a_shipped_suite_is_the_same_each_time_with_its_pairs_whole() -> None:
    bias = await shipped("bias")

    first, again = [ShippedCases(suite="bias", languages=("en", "fr"), max_cases=11).of(bias) for _ in range(2)]

    assert first == again
    assert len(first) in {10, 11}
    assert {case.labels[LANGUAGE] for case in first} == {"en", "fr"}
    assert set(Counter(case.labels[PAIR] for case in first if PAIR in case.labels).values()) == {2}
    assert len(ShippedCases(suite="bias", max_cases=1000).of(bias)) == len(bias.cases)


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        (ShippedCases(suite="bias", languages=("en", "nl")), "suite.shipped.languages[1]", "bias is in en, de, fr, es"),
        (ShippedCases(suite="bias", max_cases=-1), "suite.shipped.max_cases", "is -1"),
        (ShippedCases(suite="bias", max_cases=1), "suite.shipped.max_cases", "2 or more"),
    ],
)
async def test_a_part_that_does_not_exist_is_refused_by_field(given: ShippedCases, field: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        given.of(await shipped("bias"))

    (violation,) = refused.value.violations
    assert violation.field == field
    assert said in violation.description
