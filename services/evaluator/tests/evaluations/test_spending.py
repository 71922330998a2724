"""The level of a gate: each evaluation on its cases is judged by what the ones before have left of it."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BASE, TUNED, gate_of
from services.evaluator.tests.harness import TRUTH, Evaluator, ready
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.messages import evaluation_message
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.gates.domain.spending import MAX_BASELINES, MAX_ORIGINS, Spent, corrected_confidence, spent_more


async def finished(evaluator: Evaluator) -> Evaluation:
    """Run the newest evaluation."""
    return await evaluator.finish((await evaluator.all())[-1])


async def register_another(evaluator: Evaluator) -> None:
    evaluator.models.versions["lora@3"] = Version(ready=True, dataset_version="sft@2")
    await evaluator.register("lora@3")


async def test_the_first_candidate_is_judged_by_the_level_of_the_gate() -> None:
    done = await (await ready()).finish()

    assert (done.ordinal, done.confidence, done.message) == (1, 0.95, "")


async def test_the_next_candidate_against_the_same_model_is_judged_by_what_is_left() -> None:
    evaluator = await ready()
    await evaluator.finish()
    await register_another(evaluator)

    done = await finished(evaluator)

    assert done.ordinal == 2
    assert done.confidence == pytest.approx(1 - 0.05 / 3)
    assert f"evaluation 2 on the cases of gate against {BASE}: its intervals have confidence 0.9833" in done.message
    assert evaluation_message(done).confidence == pytest.approx(1 - 0.05 / 3)


async def test_a_new_live_model_begins_anew() -> None:
    evaluator = await ready()
    await evaluator.finish()
    live = evaluator.inference.deployments["acme", "helpdesk"]
    evaluator.inference.deployments["acme", "helpdesk"] = replace(live, model=TUNED)
    await register_another(evaluator)

    assert (await finished(evaluator)).ordinal == 1


async def test_further_attempts_of_an_evaluation_count_once() -> None:
    evaluator = await ready()
    done = await evaluator.finish()
    await evaluator.triggers.again(ADA, done)

    again = await finished(evaluator)

    assert (again.attempt, again.ordinal) == (2, 1)


async def test_evaluations_by_hand_of_the_suites_of_a_gate_count_and_have_the_whole_level() -> None:
    evaluator = await ready()
    await evaluator.finish()
    by_hand = await evaluator.finish(await evaluator.by_hand())
    await register_another(evaluator)

    done = await finished(evaluator)

    assert (by_hand.ordinal, by_hand.confidence, done.ordinal) == (0, 0.95, 3)


def test_all_evaluations_together_spend_no_more_than_the_level() -> None:
    spent = [(1 - corrected_confidence(0.95, number)) / 2 for number in range(1, 10_000)]

    assert spent[0] == pytest.approx(0.025)
    assert 0.0499 < sum(spent) < 0.05
    assert min(spent) > 0


def test_what_is_remembered_is_bounded_and_the_count_goes_on() -> None:
    spent: tuple[Spent, ...] = ()
    for number in range(MAX_ORIGINS + 20):
        spent = spent_more(spent, "base@1", f"cause-{number}")
    assert (spent[0].count, len(spent[0].origins)) == (MAX_ORIGINS + 20, MAX_ORIGINS)
    assert spent[0].number(f"cause-{MAX_ORIGINS + 19}") == MAX_ORIGINS + 20
    assert spent_more(spent, "base@1", "cause-50") == spent

    for number in range(MAX_BASELINES):
        spent = spent_more(spent, f"model@{number}", "cause")
    assert "base@1" not in {each.baseline for each in spent}


def test_a_gate_of_index_versions_counts_none() -> None:
    gate = gate_of(TRUTH)
    gate.collection = "docs"

    gate.spend("base@1", "cause")

    assert (gate.spent, gate.ordinal("base@1", "cause")) == ((), 0)
