from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BUCKET, cases, write
from services.evaluator.tests.harness import HELD_OUT, LITTLE, TRUTH, Evaluator, ready
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import CasesErased, GateNotFound
from tidemill_evaluator.evaluations.domain.power import Bound, Power, RequirementPower
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.cases import Case, CaseSet
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_kit.store.objects import ExchangeBucket


class Erased(ExchangeCases):
    """No cases are left."""

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        where = f"{case_set.name} of {project}"
        raise CasesErased(where)


async def power(evaluator: Evaluator, *, gate: str = "gate", gain: float = 0.0) -> list[RequirementPower]:
    return list(await evaluator.estimate_power(ADA, gate, gain=gain))


async def test_before_an_evaluation_a_suite_has_its_questions_and_a_held_out_part_none_yet() -> None:
    evaluator = await ready()

    truth, held_out = sorted(await power(evaluator), key=lambda each: each.metric + each.case_set, reverse=True)

    assert (truth.case_set, truth.questions, truth.power, truth.evaluation) == ("suite:truth@1", 3, 0.03, "")
    assert (truth.gain, truth.detectable_gain, truth.needed_questions, truth.deviation) == (0.05, 0.1, 80, 0.25)
    assert (held_out.case_set, held_out.power) == ("sft", None)
    assert held_out.message == "how many held-out cases sft has is known once a candidate was evaluated"
    assert evaluator.powers.known == [()]


async def test_after_an_evaluation_its_differences_are_known_and_the_next_candidate_is_the_second() -> None:
    evaluator = await ready()
    done = await evaluator.finish()

    held_out, truth = await power(evaluator, gain=-0.01)

    assert (truth.evaluation, held_out.evaluation) == (done.id, done.id)
    assert held_out.case_set == "dataset:sft@2:held_out"
    assert [round(sum(each) / len(each), 3) for each in evaluator.powers.known] == [
        round(each.difference, 3) for each in done.comparisons if each.required
    ]
    bound = evaluator.powers.bounds[1]
    assert (bound.above, bound.questions) == (-0.02, 3)
    assert bound.confidence == pytest.approx(1 - 0.1 / 6)
    assert truth.gain == -0.01


async def test_a_new_version_of_the_suite_has_its_own_questions_and_level() -> None:
    evaluator = await ready()
    await evaluator.finish()
    six = cases(6)
    await evaluator.suite_crud.update(ADA, Suite(id="truth", project="acme"), six, frozenset({"cases"}), write())

    _, truth = await power(evaluator)

    assert (truth.case_set, truth.questions, truth.confidence) == ("suite:truth@2", 6, 0.95)
    assert len(evaluator.powers.known[-1]) == 3


async def test_what_has_no_figures_says_why() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    await evaluator.with_gate(TRUTH, Requirement(suite="truth", metric="output_chars"), HELD_OUT)

    assert [(each.power, each.message) for each in await power(evaluator)] == [
        (None, "suite truth does not exist yet"),
        (None, "output_chars has no bounds: its power is not computed"),
        (None, "how many held-out cases sft has is known once a candidate was evaluated"),
    ]


async def test_too_few_questions_find_nothing_and_more_are_asked_for() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    await evaluator.with_suite(count=3)
    await evaluator.with_gate(Requirement(suite="truth", metric="rouge_l", at_least=100))

    (found,) = await power(evaluator)

    assert (found.power, found.detectable_gain, found.needed_questions) == (0.0, None, 100)
    assert found.message == "it needs at least 100 different questions: add cases"


def test_an_evaluation_whose_differences_say_nothing_is_not_named() -> None:
    bound = Bound(above=0.0, confidence=0.95, questions=60)
    assumed = Power(of_gain=0.1, detectable_gain=0.2, needed=500, deviation=0.3, assumed=True)

    found = RequirementPower.of(TRUTH, 0.05).stated(bound, assumed, minimum=10, evaluation="ev-1")

    assert (found.evaluation, found.power) == ("", 0.1)
    assert found.message == "its deviation is assumed: ev-1 has fewer than 20 answers, or all alike"


async def test_repeats_of_a_question_are_one() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    again = [replace(each, id=f"again-{each.id}", question=f" {each.question.upper()}") for each in cases()]
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), [*cases(), *again], write())
    await evaluator.with_gate(TRUTH)

    assert [each.questions for each in await power(evaluator)] == [3]


async def test_erased_cases_say_so() -> None:
    evaluator = await ready()
    await evaluator.finish()

    gone = replace(evaluator.estimate_power, cases=Erased(ExchangeBucket(evaluator.objects, BUCKET), of_datasets={}))
    found = await gone(ADA, "gate")

    assert {each.power for each in found} == {None}
    assert {each.message for each in found} == {
        "its cases cannot be read: suite:truth@1 of acme is not there any more",
        "its cases cannot be read: dataset:sft@2:held_out of acme is not there any more",
    }


@pytest.mark.parametrize("gain", [1.0, -1.0, float("nan"), float("inf")])
async def test_a_gain_that_no_mean_can_have_is_refused(gain: float) -> None:
    evaluator = await ready()
    with pytest.raises(InvalidInput, match=r"gain: is .*: send a number above -1 and below 1"):
        await power(evaluator, gain=gain)


async def test_a_gate_of_another_project_is_not_found() -> None:
    evaluator = await ready()
    with pytest.raises(GateNotFound):
        await evaluator.estimate_power(Caller(project="globex"), "gate")
