"""Suites whose cases expect something, and suites that take shipped cases."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, cases, write
from services.evaluator.tests.harness import Evaluator
from tidemill.evaluator.v1 import suite_pb2
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.suites.domain.cases import Case, check_cases, digest_of
from tidemill_evaluator.suites.domain.expectations import Expectation
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.shipped import ShippedCases
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.messages import cases_of, suite_message, suite_of

FORGETTING = ShippedCases(suite="forgetting", languages=("en",), max_cases=6)
EXPECTED = Expectation(must_not_contain=("A", "B"), must_match="c+", must_refuse=True, must_be_json=True)


def taking(shipped: ShippedCases | None) -> Suite:
    return Suite(id="abilities", project="acme", shipped=shipped)


def expecting(expected: Expectation) -> Case:
    return Case(id="c1", question="what?", reference="", expect=expected)


@pytest.mark.parametrize(
    ("expected", "field", "said"),
    [
        (Expectation(), "expect", "states nothing"),
        (Expectation(must_refuse=True, must_answer=True), "expect.must_refuse", "contradicts must_answer"),
        (Expectation(must_not_contain=("x", " ")), "expect.must_not_contain", "has a text that is empty, or invisible"),
        (
            Expectation(must_not_contain=("\u200b",)),
            "expect.must_not_contain",
            "has a text that is empty, or invisible",
        ),
        (Expectation(must_match="(?<=a)b"), "expect.must_match", "none that RE2 takes"),
        (Expectation(must_match="((((x{100}){100}){100}){100})"), "expect.must_match", "none that RE2 takes"),
        (Expectation(must_match="x" * 1999, must_not_contain=("xx",)), "expect", "has 2001 characters"),
    ],
)
def test_an_expectation_that_cannot_be_decided_is_refused_by_case_and_field(
    expected: Expectation, field: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_cases([*cases(1), replace(expecting(expected), id="c2")], Limits())

    (violation,) = refused.value.violations
    assert violation.field == f"suite.cases[1].{field}"
    assert said in violation.description


@pytest.mark.parametrize(
    "changed",
    [
        {"must_not_contain": ("A",)},
        {"must_match": "d"},
        {"must_refuse": False},
        {"must_refuse": False, "must_answer": True},
        {"must_be_json": False},
    ],
)
def test_another_expectation_is_other_content_and_the_order_of_its_texts_is_not(changed: dict[str, object]) -> None:
    one = expecting(EXPECTED)

    assert digest_of([one]) != digest_of([expecting(replace(EXPECTED, **changed))])  # type: ignore[arg-type] # parametrized
    assert digest_of([one]) != digest_of([replace(one, expect=None)])
    assert digest_of([one]) == digest_of([expecting(replace(EXPECTED, must_not_contain=("B", "A")))])


async def test_an_expectation_is_read_as_it_was_given_and_needs_no_reference() -> None:
    evaluator, given = Evaluator(), [expecting(EXPECTED), *cases(3)[1:]]
    suite = taking(None)
    message = suite_message(suite, given)

    created = await evaluator.suite_crud.create(ADA, suite_of(message, "acme"), cases_of(message), write())

    assert list((await evaluator.suite_crud.get(ADA, "abilities"))[1]) == given
    assert (created.expecting, created.without_reference, created.incomparable) == (1, 1, "")


async def test_a_case_with_neither_reference_nor_expectation_is_for_searches_only() -> None:
    evaluator = Evaluator()
    unanswerable = Case(id="c9", question="where?", reference="", unanswerable=True)

    created = await evaluator.suite_crud.create(ADA, taking(None), [expecting(EXPECTED), unanswerable], write())

    assert created.incomparable.startswith("1 of 2 cases of suite abilities have neither")
    created.unscored = None  # as what an earlier release stored
    assert created.incomparable.startswith("2 of 2 cases")


async def test_a_suite_takes_cases_that_are_shipped_and_says_which() -> None:
    evaluator = Evaluator()
    asked = suite_pb2.Suite(
        id="abilities", shipped=suite_pb2.ShippedCases(suite="forgetting", languages=["en"], max_cases=6)
    )

    created = await evaluator.suite_crud.create(ADA, suite_of(asked, "acme"), [], write("r1"))
    again = await evaluator.suite_crud.create(ADA, suite_of(asked, "acme"), [], write("r1"))

    assert created == again
    assert (created.number, created.size, created.expecting, created.shipped) == (1, 6, 6, FORGETTING)
    assert suite_message(created).shipped == asked.shipped
    assert all(case.id.startswith("en-") for case in (await evaluator.suite_crud.get(ADA, "abilities"))[1])


async def test_taking_the_same_shipped_cases_again_makes_no_version_and_others_the_next() -> None:
    evaluator = Evaluator()
    await evaluator.suite_crud.create(ADA, taking(FORGETTING), [], write())

    numbers = [
        (await evaluator.suite_crud.update(ADA, taking(shipped), [], frozenset({"shipped"}), write())).number
        for shipped in (FORGETTING, replace(FORGETTING, max_cases=8))
    ]
    preview = await evaluator.suite_crud.update(
        ADA, taking(FORGETTING), [], frozenset({"shipped"}), write(validate_only=True)
    )
    own = await evaluator.suite_crud.update(ADA, taking(None), cases(3), frozenset({"cases"}), write())

    assert numbers == [1, 2]
    assert (preview.number, preview.size) == (3, 6)
    assert (own.number, own.size, own.expecting, own.shipped) == (3, 3, 0, None)


@pytest.mark.parametrize(
    ("shipped", "given", "field", "said"),
    [
        (FORGETTING, cases(1), "suite.shipped", "send one of both"),
        (ShippedCases(suite="nothing"), [], "suite.shipped.suite", "the evaluator ships bias, forgetting"),
        (ShippedCases(suite="bias", languages=("xx",) * 5), [], "suite.shipped.languages", "has 5 entries"),
        (ShippedCases(suite="bias", languages=("xx",)), [], "suite.shipped.languages[0]", "is 'xx'"),
        (None, [], "suite.cases", "has 0 cases"),
    ],
)
async def test_cases_that_are_not_there_or_twice_are_refused_and_nothing_changes(
    shipped: ShippedCases | None, given: list[Case], field: str, said: str
) -> None:
    evaluator = Evaluator()
    before = await evaluator.suite_crud.create(ADA, taking(FORGETTING), [], write())

    with pytest.raises(InvalidInput) as refused:
        await evaluator.suite_crud.update(ADA, taking(shipped), given, frozenset({"cases", "shipped"}), write())

    (violation,) = refused.value.violations
    assert violation.field == field
    assert said in violation.description
    assert await evaluator.suites.get("acme", "abilities") == before


async def test_what_the_mask_does_not_name_is_as_if_it_were_not_sent() -> None:
    evaluator = Evaluator()
    await evaluator.suite_crud.create(ADA, taking(FORGETTING), [], write())
    crud = evaluator.suite_crud

    own = await crud.update(ADA, taking(FORGETTING), cases(3), frozenset({"cases"}), write())
    taken = await crud.update(ADA, taking(FORGETTING), cases(3), frozenset({"shipped"}), write())

    assert (own.size, own.shipped) == (3, None)
    assert (taken.size, taken.shipped) == (6, FORGETTING)


async def test_shipped_suites_are_listed_in_pages() -> None:
    evaluator = Evaluator()

    first = await evaluator.suite_crud.list_shipped(ADA, PageRequest(size=5))
    rest = await evaluator.suite_crud.list_shipped(ADA, PageRequest(size=5, token=first.next_token))

    assert [suite.id for suite in first.items] == ["bias", "forgetting", "format", "hallucination", "harmful"]
    assert [suite.id for suite in rest.items] == ["injection", "over_refusal"]
    assert rest.next_token == ""
