from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from services.evaluator.tests.builders import ADA, BUCKET, DATASETS, cases, request, write
from services.evaluator.tests.harness import HELD_OUT, LITTLE, TRUTH, Evaluator, ready
from tidemill_core.application import Caller, Request
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import GateNotFound
from tidemill_evaluator.evaluations.domain.comparison import Comparison
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.power import Bound, Counted, Power, RequirementPower
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.evaluations.start_evaluation import StartCommand
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.cases import PAIR, Case, CaseSet, Judgement
from tidemill_evaluator.suites.domain.expectations import Expectation
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_kit.store.objects import ExchangeBucket


class CountedReads(ExchangeCases):
    """Keeps the names of the sets that are read, and whether a place was held."""

    def __init__(self, evaluator: Evaluator) -> None:
        stores = {DATASETS: ExchangeBucket(evaluator.objects, DATASETS)}
        super().__init__(ExchangeBucket(evaluator.objects, BUCKET), of_datasets=stores, origins=evaluator.origins)
        self.read_with: list[tuple[str, Sequence[str]]] = []
        self._powers = evaluator.powers

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        self.read_with.append((case_set.name, tuple(self._powers.held)))
        return await super().read(project, case_set)


async def power(evaluator: Evaluator, *, gate: str = "gate", gain: float = 0.0) -> list[RequirementPower]:
    return list(await evaluator.estimate_power(ADA, gate, gain=gain))


async def of_gate(evaluator: Evaluator, candidate: str) -> Evaluation:
    """Evaluate another candidate of the gate."""
    evaluator.models.versions[candidate] = Version(ready=True, dataset_version="sft@2")
    command = StartCommand(candidate=candidate, gate="gate", request=request())
    return await evaluator.finish(await evaluator.start(ADA, command))


def _compared(comparisons: Sequence[Comparison], evaluation: Evaluation) -> None:
    evaluation.comparisons = tuple(comparisons)


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
    assert held_out.confidence == 0.95  # the next one brings a held-out part of its own
    bound = evaluator.powers.bounds[1]
    assert (bound.above, bound.clusters) == (-0.02, 3)
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


async def test_a_gate_of_two_held_out_parts_is_refused_and_one_of_before_says_that_none_passes() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    both = (HELD_OUT, replace(HELD_OUT, dataset="globex/sft"))

    with pytest.raises(InvalidInput, match=r"require\[1\].dataset: is 'globex/sft' beside 'sft': .* name one"):
        await evaluator.with_gate(*both)
    await evaluator.with_gate(HELD_OUT)
    await evaluator.gates.update("acme", "gate", lambda gate: setattr(gate, "require", both), request=request())

    for each in await power(evaluator):
        assert each.power is None
        assert "held-out cases of sft and globex/sft are required, and a candidate is trained on one" in each.message
    stored = await evaluator.gates.get("acme", "gate")
    paused = await evaluator.gate_crud.update(ADA, replace(stored, paused=True), frozenset({"paused"}), write())
    assert paused.paused
    with pytest.raises(InvalidInput, match="name one"):
        await evaluator.gate_crud.update(ADA, stored, frozenset({"require"}), write())


async def test_too_few_questions_find_nothing_and_more_are_asked_for() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    await evaluator.with_suite(count=3)
    await evaluator.with_gate(Requirement(suite="truth", metric="rouge_l", at_least=100))

    (found,) = await power(evaluator)

    assert (found.power, found.detectable_gain, found.needed_questions) == (0.0, None, 100)
    assert found.message == "it needs at least 100 different questions: add cases"


def test_an_evaluation_whose_differences_say_nothing_is_not_named() -> None:
    counted, bound = Counted(questions=60, clusters=60), Bound(above=0.0, confidence=0.95, clusters=60)
    assumed = Power(of_gain=0.1, detectable_gain=0.2, needed=500, deviation=0.3, assumed=True)

    found = RequirementPower.of(TRUTH, 0.05).stated(counted, bound, assumed, minimum=10, evaluation="ev-1")

    assert (found.evaluation, found.power) == ("", 0.1)
    assert found.message == "its deviation is assumed: ev-1 has fewer than 20 independent answers, or all alike"


async def test_repeats_of_a_question_are_one() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    again = [replace(each, id=f"again-{each.id}", question=f" {each.question.upper()}") for each in cases()]
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), [*cases(), *again], write())
    await evaluator.with_gate(TRUTH)

    assert [each.questions for each in await power(evaluator)] == [3]


async def test_each_set_and_its_results_are_read_once_in_one_place() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    await evaluator.with_suite()
    await evaluator.with_held_out()
    await evaluator.with_gate(HELD_OUT, TRUTH, Requirement(suite="truth", metric="token_f1"))
    await evaluator.register()
    await evaluator.finish()
    reads = CountedReads(evaluator)

    found = await replace(evaluator.estimate_power, cases=reads)(ADA, "gate")

    names = ["dataset:sft@2:held_out", "suite:truth@1"]
    assert [each.case_set for each in found] == [*names, "suite:truth@1"]
    assert reads.read_with == [(name, ("acme",)) for name in names]
    assert evaluator.results.scored == names
    assert not evaluator.powers.held


async def test_a_suite_with_a_case_without_a_reference_has_no_figures() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    judged = Case(id="judged", question="where?", reference="", judgements=(Judgement(document="d1", grade=1),))
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), [*cases(), judged], write())
    await evaluator.with_gate(TRUTH)

    (found,) = await power(evaluator)

    assert found.power is None
    assert found.message.startswith("no candidate comes to a verdict: 1 of 4 cases of suite truth have neither")


async def test_suites_that_an_evaluation_refuses_have_no_figures() -> None:
    evaluator = Evaluator(evidence=LITTLE, limits=Limits(evaluation_cases=3))
    await evaluator.with_suite()
    await evaluator.with_gate(TRUTH, name="alone")
    await evaluator.with_gate(TRUTH, HELD_OUT, name="both")

    (alone,) = await power(evaluator, gate="alone")
    both = await power(evaluator, gate="both")

    assert (alone.power, alone.message) == (0.03, "")
    assert {each.power for each in both} == {None}
    assert {each.message for each in both} == {
        "no candidate comes to a verdict: the suites alone reach the limit of 3 cases"
    }


async def test_an_evaluation_that_compared_no_answers_is_passed_over() -> None:
    evaluator = await ready()
    first = await evaluator.finish()
    evaluator.pass_time(60)
    last = await of_gate(evaluator, "lora@4")
    assert {each.evaluation for each in await power(evaluator)} == {last.id}
    searched = [replace(last.comparisons[0], metric="ndcg")]
    await evaluator.evaluations.update("acme", last.id, partial(_compared, searched), request=Request.internal())

    found = await power(evaluator)

    assert {each.evaluation for each in found} == {first.id}


async def test_cases_that_are_gone_say_so_without_where_they_were() -> None:
    evaluator = await ready()
    await evaluator.finish()
    for bucket in (BUCKET, DATASETS):
        await evaluator.objects.delete_prefix(bucket, "acme/")

    found = await power(evaluator)

    assert {each.power for each in found} == {None}
    assert {each.message for each in found} == {"its cases cannot be read: they are not there any more, or not shared"}


@pytest.mark.parametrize("gain", [1.0, -1.0, float("nan"), float("inf")])
async def test_a_gain_that_no_mean_can_have_is_refused(gain: float) -> None:
    evaluator = await ready()
    with pytest.raises(InvalidInput, match=r"gain: is .*: send a number above -1 and below 1"):
        await power(evaluator, gain=gain)


async def test_a_gate_of_another_project_is_not_found() -> None:
    evaluator = await ready()
    with pytest.raises(GateNotFound):
        await evaluator.estimate_power(Caller(project="globex"), "gate")


async def test_only_cases_that_a_metric_applies_to_count_for_its_power() -> None:
    evaluator = Evaluator(evidence=LITTLE)
    named = cases(9)
    pairs = [1, 1, 2, 2, 3, 0, 0, 0, 0]
    given = [
        replace(
            case,
            expect=Expectation(must_answer=True) if number < 6 else None,
            labels={PAIR: f"p{pair}"} if pair else {},
        )
        for number, (case, pair) in enumerate(zip(named, pairs, strict=True))
    ]
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), given, write())
    metrics = ("rouge_l", "expectation_met", "expectation_gap", "json_schema")
    await evaluator.with_gate(*(Requirement(suite="truth", metric=metric) for metric in metrics))

    found = {each.metric: each for each in await power(evaluator)}

    assert [(found[name].questions, found[name].clusters) for name in metrics] == [(9, 7), (6, 4), (4, 2), (0, 0)]
    assert (found["json_schema"].power, found["json_schema"].message) == (
        None,
        "json_schema applies to none of its cases",
    )
