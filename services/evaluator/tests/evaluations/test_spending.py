"""The level of a gate: each candidate on its cases is judged by what the ones before have left of it."""

import asyncio
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BASE, TUNED, cases, gate_of, request, write
from services.evaluator.tests.harness import HELD_OUT, TRUTH, Evaluator, ready, registry
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.domain.clusters import Traits
from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.evaluations.messages import evaluation_message
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.evaluations.start_evaluation import StartCommand
from tidemill_evaluator.gates.domain.spending import MAX_CANDIDATES, SpentLevel, corrected_confidence
from tidemill_evaluator.gates.spend_level import SpendLevel
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.suite import Suite

OTHER = "lora@3"


async def of_gate(evaluator: Evaluator, candidate: str, *, gate: str = "gate") -> Evaluation:
    """Evaluate a candidate once more, as a user asks for it."""
    evaluator.models.versions[candidate] = Version(ready=True, dataset_version="sft@2")
    command = StartCommand(candidate=candidate, gate=gate, request=request())
    return await evaluator.finish(await evaluator.start(ADA, command))


async def test_the_first_candidate_is_judged_by_the_level_of_the_gate() -> None:
    done = await (await ready()).finish()

    assert (done.ordinal, done.confidence, done.message) == (1, 0.95, "")


async def test_the_next_candidate_against_the_same_model_is_judged_by_what_is_left() -> None:
    evaluator = await ready()
    await evaluator.finish()

    done = await of_gate(evaluator, OTHER)

    assert done.ordinal == 2
    assert done.confidence == pytest.approx(1 - 0.05 / 3)
    assert f"it is candidate 2 on suite:truth@1 against {BASE}" in done.message
    assert "wrong with probability 0.017 at most" in done.message
    assert evaluation_message(done).confidence == pytest.approx(1 - 0.05 / 3)


async def test_the_same_candidate_keeps_its_number_however_often_it_is_asked() -> None:
    evaluator = await ready()
    await evaluator.finish()
    for _ in range(3):
        await evaluator.finish(await evaluator.by_hand())
        assert (await of_gate(evaluator, TUNED)).ordinal == 1

    assert (await of_gate(evaluator, OTHER)).ordinal == 2
    assert (await of_gate(evaluator, TUNED)).ordinal == 1


async def test_a_candidate_compared_by_hand_counts_and_has_the_whole_level() -> None:
    evaluator = await ready()
    evaluator.candidate_is_right()
    by_hand = await evaluator.finish(await evaluator.by_hand())

    done = await of_gate(evaluator, OTHER)

    assert (by_hand.ordinal, by_hand.confidence, done.ordinal) == (0, 0.95, 2)


async def test_the_live_model_against_itself_is_no_candidate() -> None:
    evaluator = await ready()
    evaluator.models.versions[BASE] = Version(ready=True, dataset_version="")
    command = StartCommand(candidate=BASE, deployment="helpdesk", suites=("truth",), request=request())
    await evaluator.finish(await evaluator.start(ADA, command))

    assert (await of_gate(evaluator, OTHER)).ordinal == 1


async def test_an_evaluation_without_a_verdict_takes_no_number() -> None:
    evaluator = await ready()
    cancelled = (await evaluator.all())[0]
    await evaluator.evaluation_crud.cancel(ADA, cancelled.id, request=request())
    await evaluator.finish(cancelled)
    for case in cases(2):
        evaluator.inference.fails["", case.question] = [InvalidInput("no") for _ in range(9)]
    assert (await of_gate(evaluator, TUNED)).state is State.FAILED
    evaluator.inference.fails.clear()

    assert evaluator.levels.all() == []
    assert (await of_gate(evaluator, OTHER)).ordinal == 1


async def test_a_new_live_model_begins_anew() -> None:
    evaluator = await ready()
    await evaluator.finish()
    live = evaluator.inference.deployments["acme", "helpdesk"]
    evaluator.inference.deployments["acme", "helpdesk"] = replace(live, model=TUNED)

    assert (await of_gate(evaluator, OTHER)).ordinal == 1


async def test_new_versions_of_the_cases_begin_anew_each_for_itself() -> None:
    evaluator = await ready()
    await evaluator.finish()
    await evaluator.suite_crud.update(ADA, Suite(id="truth", project="acme"), cases(4), frozenset({"cases"}), write())

    done = await of_gate(evaluator, OTHER)

    assert "candidate 2 on dataset:sft@2:held_out" in done.message
    assert "suite:truth" not in done.message


async def test_gates_on_the_same_cases_have_one_level() -> None:
    evaluator = await ready()
    await evaluator.with_gate(HELD_OUT, TRUTH, name="gate2")
    await evaluator.finish((await evaluator.all())[0])

    assert (await of_gate(evaluator, OTHER, gate="gate2")).ordinal == 2
    assert (await of_gate(evaluator, "lora@4")).ordinal == 3


async def test_an_evaluation_whose_gate_was_deleted_is_judged_by_what_is_left() -> None:
    evaluator = await ready()
    await evaluator.finish()
    evaluator.models.versions[OTHER] = Version(ready=True, dataset_version="sft@2")
    queued = await evaluator.start(ADA, StartCommand(candidate=OTHER, gate="gate", request=request()))
    await evaluator.gate_crud.delete(ADA, "gate", write())

    assert (await evaluator.finish(queued)).ordinal == 2


async def test_counting_leaves_the_gate_as_it_was() -> None:
    evaluator = await ready()
    before = await evaluator.gates.get("acme", "gate")

    await evaluator.finish()

    assert (await evaluator.gates.get("acme", "gate")) == before


@pytest.mark.parametrize(
    ("number", "questions", "baseline", "passes", "says"),
    [
        (1, 60, 0.6, True, ""),
        (3, 10, 0.0, True, ""),
        (4, 10, 0.0, False, "10 questions cannot show that at this level, whatever the candidate answers, and 11 like"),
        (1, 60, 1.0, False, "the baseline leaves no such gain"),
    ],
)
async def test_a_gate_that_nothing_can_pass_says_so_with_the_questions_that_would_do(
    number: int, questions: int, baseline: float, *, passes: bool, says: str
) -> None:
    """Judge a candidate with every answer right."""
    asked = CaseSet(suite="truth", number=1, size=questions, content=ObjectRef(bucket="b", key="k", size=1, sha256=""))
    evaluation = Evaluation.queued("acme", Comparing.of(gate_of(), TUNED), origin="cause")
    evaluation.case_sets = (asked,)
    right = [
        CaseResult(
            case_set=asked.name,
            case=str(each),
            baseline=CaseAnswer(scores={"rouge_l": baseline}),
            candidate=CaseAnswer(scores={"rouge_l": 1.0}),
        )
        for each in range(questions)
    ]
    judge = ComputeVerdict(intervals=BettingIntervals(), metrics=registry(), evidence=Evidence())

    traits = {(asked.name, each.case): Traits(question=each.case, cluster=int(each.case)) for each in right}
    comparison = (await judge(evaluation, right, traits, {asked.name: number}))[0]

    assert comparison.holds is passes
    assert says in comparison.note


def test_all_candidates_together_spend_no_more_than_the_level() -> None:
    spent = [(1 - corrected_confidence(0.95, number)) / 2 for number in range(1, 10_000)]

    assert spent[0] == pytest.approx(0.025)
    assert 0.0499 < sum(spent) < 0.05
    assert min(spent) > 0


def test_what_is_remembered_is_bounded_and_the_count_goes_on() -> None:
    level = SpentLevel.on("acme", baseline=BASE, case_set="suite:truth@1")
    for number in range(MAX_CANDIDATES + 20):
        level.spend(f"lora@{number}")
        level.spend(f"lora@{number}")

    assert (level.count, len(level.candidates)) == (MAX_CANDIDATES + 20, MAX_CANDIDATES)
    assert (level.number(f"lora@{MAX_CANDIDATES + 19}"), level.number("lora@0")) == (MAX_CANDIDATES + 20, 0)


async def test_candidates_that_are_counted_at_once_have_different_numbers() -> None:
    evaluator = await ready()
    count = SpendLevel(levels=evaluator.levels)

    found = await asyncio.gather(
        *(count(ADA, baseline=BASE, candidate=f"lora@{n}", case_sets=["suite:truth@1"]) for n in range(5))
    )

    assert sorted(each["suite:truth@1"] for each in found) == [1, 2, 3, 4, 5]
