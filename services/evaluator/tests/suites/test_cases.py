from dataclasses import replace

import pytest

from services.evaluator.tests.builders import cases, gate_of
from services.evaluator.tests.harness import registry
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.cases import Context, Judgement, Role, Turn, check_cases, digest_of
from tidemill_evaluator.suites.domain.limits import Limits

SMALL = Limits(cases=3, question_length=20, reference_length=20, schema_length=40, code_tests_length=40, requirements=2)


def fields_of(error: InvalidInput) -> list[str]:
    return [violation.field for violation in error.violations]


def test_the_order_of_cases_and_labels_and_the_form_of_unicode_make_no_other_content() -> None:
    one, two, three = cases(3)
    accented = replace(one, question="caf\u00e9?", labels={"a": "1", "b": "2"})
    same = replace(one, question="cafe\u0301? ", labels={"b": "2", "a": "1"})

    assert digest_of([accented, two, three]) == digest_of([three, same, two])


def test_repeats_of_a_question_are_known_whatever_their_case_space_and_last_mark() -> None:
    (case,) = cases(1)
    repeats = [
        replace(case, question=text) for text in ("Où est le café?", " où  est le CAFE\u0301 ", "où est le café ?")
    ]

    assert len({repeat.asked for repeat in repeats}) == 1
    assert len({replace(case, question=text).asked for text in ("what is C", "what is C#", "?", "??")}) == 4


def test_the_same_words_after_other_turns_or_with_other_variables_are_another_question() -> None:
    (case,) = cases(1)
    contexts = [
        Context(),
        Context(earlier=(Turn(Role.USER, "What does topic 1 cost?"), Turn(Role.ASSISTANT, "1 euro."))),
        Context(earlier=(Turn(Role.USER, "What does topic 2 cost?"), Turn(Role.ASSISTANT, "2 euros."))),
        Context(variables={"product": "a"}),
        Context(variables={"product": "b"}),
    ]

    assert len({replace(case, context=context).asked for context in contexts}) == 5
    assert len({digest_of([replace(case, context=context)]) for context in contexts}) == 5
    assert replace(case, context=Context(principals=("staff",))).asked == case.asked


@pytest.mark.parametrize(
    ("context", "field"),
    [
        (Context(earlier=(Turn(Role.USER, " "),)), "suite.cases[0].earlier[0]"),
        (Context(earlier=(Turn(Role.USER, "t" * 33_000),)), "suite.cases[0].earlier"),
        (Context(variables={"all": "v" * 33_000}), "suite.cases[0].earlier"),
        (Context(principals=("",)), "suite.cases[0].principals"),
        (Context(principals=("p",) * 101), "suite.cases[0].principals"),
    ],
)
def test_a_context_that_cannot_be_asked_with_is_refused_by_field(context: Context, field: str) -> None:
    (case,) = cases(1)

    with pytest.raises(InvalidInput) as refused:
        check_cases([replace(case, context=context)], Limits())

    assert fields_of(refused.value) == [field]


@pytest.mark.parametrize(
    "change",
    [
        {"question": "another?"},
        {"reference": "other"},
        {"id": "x"},
        {"labels": {"a": "b"}},
        {"schema": {}},
        {"code_tests": "1"},
    ],
)
def test_any_other_content_has_another_digest(change: dict[str, object]) -> None:
    one, two = cases(2)

    assert digest_of([one, two]) != digest_of([replace(one, **change), two])  # type: ignore[arg-type] # parametrized


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"question": " "}, "suite.cases[1].question"),
        ({"reference": ""}, "suite.cases[1].reference"),
        ({"id": ""}, "suite.cases[1].id"),
        ({"id": "c1"}, "suite.cases[1].id"),
        ({"question": "q" * 21}, "suite.cases[1].question"),
        ({"reference": "r" * 21}, "suite.cases[1].reference"),
        ({"labels": {"a": "too long" * 40}}, "suite.cases[1].labels[a]"),
        ({"schema": {"const": "x" * 40}}, "suite.cases[1].schema"),
        ({"code_tests": "x" * 41}, "suite.cases[1].code_tests"),
    ],
)
def test_a_case_that_cannot_be_asked_is_named_without_its_text(change: dict[str, str], field: str) -> None:
    one, two = cases(2)

    with pytest.raises(InvalidInput) as refused:
        check_cases([one, replace(two, **change)], SMALL)  # type: ignore[arg-type] # parametrized

    assert fields_of(refused.value) == [field]
    assert "q" * 21 not in refused.value.message
    check_cases([one, two], SMALL)


def test_a_question_with_two_references_is_refused_by_both_places_and_repeats_and_other_readers_are_not() -> None:
    one, two, three = cases(3)
    repeat = replace(two, question=one.question.upper(), reference=f" {one.reference.lower()}")
    contradicting = replace(three, question=f"{one.question} ", reference="something else")

    with pytest.raises(InvalidInput, match=r"cases\[0\] \(c1\), which has the same question: keep one") as refused:
        check_cases([one, repeat, contradicting], Limits())

    assert fields_of(refused.value) == ["suite.cases[2].reference"]
    for fine in (
        replace(contradicting, context=Context(principals=("staff",))),
        replace(contradicting, context=Context(variables={"product": "b"})),
        replace(contradicting, context=Context(earlier=(Turn(Role.SYSTEM, "Answer in German."),))),
        replace(contradicting, reference=f"it is {one.reference}, of course"),
        replace(contradicting, reference="", unanswerable=True),
    ):
        check_cases([one, repeat, fine], Limits())


def test_stored_cases_that_contradict_one_another_stay_and_a_fresh_one_that_does_is_refused() -> None:
    one, two, three = cases(3)
    stored = [one, replace(two, question=one.question, reference="something else")]

    check_cases([*stored, three], Limits(), stored=2)
    with pytest.raises(InvalidInput) as refused:
        check_cases([*stored, replace(three, question=one.question, reference="a third")], Limits(), stored=2)

    assert fields_of(refused.value) == ["suite.cases[2].reference"]


@pytest.mark.parametrize("count", [0, 4])
def test_the_number_of_cases_has_limits(count: int) -> None:
    with pytest.raises(InvalidInput, match=f"has {count} cases: send 1 to 3"):
        check_cases(cases(count), SMALL)


@pytest.mark.parametrize(
    ("requirement", "field"),
    [
        (Requirement(metric="rouge_l"), "gate.require[0].cases"),
        (Requirement(suite="No Slug", metric="rouge_l"), "gate.require[0].suite"),
        (Requirement(dataset="No Slug", metric="rouge_l"), "gate.require[0].dataset"),
        (Requirement(suite="truth", metric="blue"), "gate.require[0].metric"),
        (Requirement(suite="truth", metric="rouge_l", gain_above=float("nan")), "gate.require[0].gain_above"),
        (Requirement(suite="truth", metric="rouge_l", at_least=-1), "gate.require[0].at_least"),
    ],
)
def test_a_requirement_that_can_never_hold_is_refused_by_its_field(requirement: Requirement, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        gate_of(requirement).check(SMALL, registry())

    assert fields_of(refused.value) == [field]


def test_all_that_is_wrong_with_a_gate_is_said_at_once() -> None:
    gate = gate_of(*[Requirement(suite="truth", metric="rouge_l")] * 3, name="My Gate", candidate="")
    gate.confidence, gate.labels = 1.0, {"team": "support" * 40}

    with pytest.raises(InvalidInput) as refused:
        gate.check(SMALL, registry())

    assert fields_of(refused.value) == [
        "gate.id",
        "gate.candidate",
        "gate.labels[team]",
        "gate.confidence",
        "gate.require",
    ]


def test_a_case_has_a_reference_or_judgements() -> None:
    (case,) = cases(1)
    check_cases([replace(case, reference="", judgements=(Judgement(document="d1", grade=1),))], SMALL)

    with pytest.raises(InvalidInput) as refused:
        check_cases([replace(case, reference="")], SMALL)
    assert fields_of(refused.value) == ["suite.cases[0].reference"]


def test_an_unanswerable_question_needs_no_reference_and_has_no_relevant_document() -> None:
    (case,) = cases(1)
    unanswerable = replace(case, reference="", unanswerable=True)
    check_cases([unanswerable, replace(unanswerable, id="q2", judgements=(Judgement(document="d1"),))], SMALL)

    with pytest.raises(InvalidInput) as refused:
        check_cases([replace(unanswerable, judgements=(Judgement(document="d1", grade=1),))], SMALL)
    assert fields_of(refused.value) == ["suite.cases[0].unanswerable"]
    assert digest_of([unanswerable]) != digest_of([replace(unanswerable, unanswerable=False)])


@pytest.mark.parametrize(
    ("judgements", "field"),
    [
        ([("d1", 1), ("d1", 0)], "suite.cases[0].judgements"),
        ([("d1", -1)], "suite.cases[0].judgements[0].grade"),
        ([("d1", 101)], "suite.cases[0].judgements[0].grade"),
        ([("", 1)], "suite.cases[0].judgements[0].document"),
        ([(f"d{number}", 1) for number in range(1001)], "suite.cases[0].judgements"),
    ],
)
def test_judgements_name_each_document_once_with_a_grade(judgements: list[tuple[str, int]], field: str) -> None:
    (case,) = cases(1)
    judged = tuple(Judgement(document=document, grade=grade) for document, grade in judgements)

    with pytest.raises(InvalidInput) as refused:
        check_cases([replace(case, judgements=judged)], Limits())
    assert fields_of(refused.value) == [field]


def test_judgements_are_content_whatever_their_order() -> None:
    (case,) = cases(1)
    one, two = Judgement(document="d1", grade=1), Judgement(document="d2", grade=2)

    assert digest_of([replace(case, judgements=(one, two))]) == digest_of([replace(case, judgements=(two, one))])
    assert digest_of([replace(case, judgements=(one,))]) != digest_of([case])
