"""A candidate that passes while another one is rolled out is compared again when that rollout has ended."""

from dataclasses import replace

from services.evaluator.tests.builders import ADA, gate_of, request, write
from services.evaluator.tests.harness import TRUTH, Evaluator
from tidemill_core.application import Caller
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation


async def refused() -> tuple[Evaluator, Evaluation]:
    """Return an evaluator whose gate's candidate has passed, and was refused its rollout because of another one."""
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(TRUTH)
    await evaluator.register()
    passed = await evaluator.finish()
    await evaluator.triggers.rollout_was_active(ADA, passed.id)
    return evaluator, passed


async def attempts(evaluator: Evaluator) -> list[int]:
    return sorted(each.attempt for each in await evaluator.all())


async def test_it_is_queued_when_the_rollout_of_its_deployment_ends_and_once() -> None:
    evaluator, passed = await refused()
    await evaluator.triggers.start_deferred(ADA, "gate")
    await evaluator.triggers.rollout_ended(ADA, "another")
    await evaluator.triggers.rollout_ended(Caller(project="globex"), "helpdesk")
    assert await attempts(evaluator) == [1]

    for _ in range(2):
        await evaluator.triggers.rollout_ended(ADA, "helpdesk")

    assert await attempts(evaluator) == [1, 2]
    assert {each.candidate for each in await evaluator.all()} == {passed.candidate}
    assert (await evaluator.gates.get("acme", "gate")).deferred_evaluation is None


async def test_a_paused_gate_waits_for_its_resumption_too_in_either_order() -> None:
    ended_first, resumed_first = (await refused())[0], (await refused())[0]
    gate = gate_of(TRUTH)
    for evaluator in (ended_first, resumed_first):
        await evaluator.gate_crud.update(ADA, replace(gate, paused=True), frozenset({"paused"}), write())

    await ended_first.triggers.rollout_ended(ADA, "helpdesk")
    await resumed_first.gate_crud.update(ADA, gate, frozenset({"paused"}), write())
    assert [await attempts(each) for each in (ended_first, resumed_first)] == [[1], [1]]
    await ended_first.gate_crud.update(ADA, gate, frozenset({"paused"}), write())
    await resumed_first.triggers.rollout_ended(ADA, "helpdesk")

    assert [await attempts(each) for each in (ended_first, resumed_first)] == [[1, 2], [1, 2]]


async def test_the_newest_of_several_is_kept_and_attempts_are_bounded() -> None:
    evaluator, passed = await refused()
    newer = replace(passed, id="newer", candidate="lora@3", origin="gate/lora@3")
    older = replace(passed, id="older", candidate="lora@2", origin="gate/lora@2")
    last = replace(passed, id="last", candidate="lora@4", origin="gate/lora@4", attempt=3)
    for each in (newer, older, last):
        await evaluator.evaluations.add(each, request=request(each.id))
        await evaluator.triggers.rollout_was_active(ADA, each.id)

    await evaluator.triggers.rollout_ended(ADA, "helpdesk")

    queued = [each.candidate for each in await evaluator.all() if each.id not in {passed.id, "newer", "older", "last"}]
    assert queued == ["lora@3"]


async def test_what_came_of_no_gate_or_of_one_that_is_gone_is_passed_over() -> None:
    evaluator, passed = await refused()
    by_hand = await evaluator.by_hand()
    await evaluator.gate_crud.delete(ADA, "gate", write())

    for name in (by_hand.id, passed.id, "unknown"):
        await evaluator.triggers.rollout_was_active(ADA, name)
    await evaluator.triggers.rollout_ended(ADA, "helpdesk")

    assert await attempts(evaluator) == [1, 1]
