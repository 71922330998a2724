"""Plans that name a judge as a reward: which they may name, what their runs pin, and what is estimated."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version, request
from services.trainer.tests.training.test_judge_answers import answers
from tidemill.trainer.v1.events_pb2 import TrainingRunQueued
from tidemill_core.application import ResourceKey
from tidemill_core.errors import DependencyUnavailable, InvalidInput, PreconditionFailed
from tidemill_core.resources import Write
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import JudgeRefused
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.domain.rewards import JudgeReward, Reward
from tidemill_trainer.training.domain.run import RunState, run_id
from tidemill_trainer.training.domain.run_events import RunWasQueued
from tidemill_trainer.training.messages import plan_message, run_event, run_message, settings_of
from tidemill_trainer.training.ports import JudgedAnswer

TONE = Reward(judge=JudgeReward(id="tone"))
JUDGED: dict[str, Any] = {
    "method": "grpo",
    "rewards": (TONE, Reward(rouge_l=True, weight=0.5)),
    "args": {"max_steps": 4.0, "num_generations": 4.0, "per_device_train_batch_size": 8.0},
}
UNMEASURED = PreconditionFailed("judge tone decides nothing before its agreement with people is measured")
UNMEASURED.reason = "JUDGE_UNMEASURED"


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([Reward(judge=JudgeReward())], "plan.rewards[0].judge.id: is ''"),
        ([Reward(judge=JudgeReward(id="tone", max_calls=-1))], "plan.rewards[0].judge.max_calls: is -1; allowed: 1"),
        ([TONE, Reward(judge=JudgeReward(id="brief"))], "plan.rewards: name 2 judges; the limit is 1: name a jury"),
        ([Reward(judge=JudgeReward(id="tone"), citation=True)], "must have exactly one of reward_model"),
    ],
)
def test_a_judge_that_cannot_reward_is_refused_by_its_place(rewards: list[Reward], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        recipe_of(method="grpo", lora={}, args={}, rewards=rewards)

    assert message in refused.value.message


async def test_a_run_pins_the_version_of_its_judge_and_its_event_names_it(harness: Harness) -> None:
    harness.judges.pinned = PinnedJudge(version="tone@3-0123456789ab", calls_per_answer=2)

    run = await harness.run(await harness.queued(**JUDGED))

    said = run_message(run)
    assert (said.judge_version, said.estimated_judge_calls) == ("tone@3-0123456789ab", 4 * 8 * 2)
    assert MessageToDict(said.recipe)["rewards"][0] == {"judge": {"id": "tone", "max_calls": 0.0}, "weight": 1.0}
    assert set(harness.judges.models) == {"smollm2@1", run.plan}
    _, event = run_event(run, RunWasQueued(occurred_at=NOON), 1)
    assert isinstance(event, TrainingRunQueued)
    assert event.judge_version == "tone@3-0123456789ab"


async def test_a_plan_is_returned_with_the_judge_that_it_was_given(harness: Harness) -> None:
    rewards = (Reward(judge=JudgeReward(id="tone", max_calls=90)),)

    plan = await harness.plan(method="grpo", rewards=rewards)

    assert settings_of(plan_message(plan)).rewards == rewards


async def test_a_judge_that_may_not_decide_is_refused_by_evaluators_reason(harness: Harness) -> None:
    harness.judges.refuses = UNMEASURED

    with pytest.raises(JudgeRefused, match=r"plan.rewards\[0\].judge: judge tone decides nothing") as refused:
        await harness.plan(**JUDGED)

    assert refused.value.reason == "JUDGE_UNMEASURED"


async def test_a_run_of_a_judge_that_may_not_decide_any_more_fails_and_pins_the_judge_when_retried(
    harness: Harness,
) -> None:
    await harness.plan(plan="lora", **JUDGED)
    harness.judges.refuses = UNMEASURED
    await harness.consume(ADA, harness.datasets.publish(dataset_version()))
    name = ResourceKey(project="acme", id=run_id("acme", "lora", "sft@1"))
    failed = await harness.run(name)
    harness.judges.refuses, harness.judges.pinned = None, PinnedJudge(version="tone@2-0123456789ab")

    retried = await harness.run_crud.retry(ADA, name.id, request=request())

    assert (failed.state, failed.reason, failed.judge) == (RunState.FAILED, "JUDGE_UNMEASURED", None)
    assert retried.judge == harness.judges.pinned


async def test_a_retry_of_a_run_that_never_began_is_held_to_its_calls_too(harness: Harness) -> None:
    judge = Reward(judge=JudgeReward(id="tone", max_calls=5))
    await harness.plan(plan="lora", **JUDGED | {"rewards": (judge,)})
    await harness.consume(ADA, harness.datasets.publish(dataset_version()))
    name = run_id("acme", "lora", "sft@1")

    with pytest.raises(InvalidInput, match=r"max_calls: is 5, and a run on 100 examples calls models up to 32 times"):
        await harness.run_crud.retry(ADA, name, request=request())

    run = await harness.run(ResourceKey(project="acme", id=name))
    assert (run.state, run.reason) == (RunState.FAILED, "INVALID_INPUT")


async def test_a_run_waits_to_be_queued_while_evaluator_is_away(harness: Harness) -> None:
    await harness.plan(plan="lora", **JUDGED)
    harness.judges.refuses = DependencyUnavailable("down", dependency="evaluator")

    with pytest.raises(DependencyUnavailable):
        await harness.consume(ADA, harness.datasets.publish(dataset_version()))


@pytest.mark.parametrize(
    ("args", "calls"),
    [({"max_steps": 3.0}, 24), ({"max_steps": -1.0, "num_train_epochs": 2.0}, 2 * 50 * 8)],
    ids=["steps", "epochs"],
)
async def test_a_preview_of_a_run_estimates_the_calls_of_its_judge(
    harness: Harness, args: dict[str, float], calls: int
) -> None:
    await harness.plan(plan="lora", **JUDGED | {"args": JUDGED["args"] | args})
    harness.datasets.publish(dataset_version(examples=100))
    preview = Write(request=request(), validate_only=True)

    run = await harness.run_crud.start(ADA, "lora", dataset_version="", write=preview)

    assert run.estimated_judge_calls == calls


@pytest.mark.parametrize(("max_calls", "limit"), [(31, 31), (0, 1000)])
async def test_a_run_that_would_call_its_judge_more_often_than_allowed_is_refused(
    harness: Harness, max_calls: int, limit: int
) -> None:
    steps = {} if max_calls else {"max_steps": 200.0}
    judge = Reward(judge=JudgeReward(id="tone", max_calls=max_calls))
    await harness.plan(plan="lora", **JUDGED | {"rewards": (judge,), "args": JUDGED["args"] | steps})
    harness.datasets.publish(dataset_version())

    with pytest.raises(InvalidInput) as refused:
        await harness.run_crud.start(ADA, "lora", dataset_version="", write=Write(request=request()))

    assert f"plan.rewards[0].judge.max_calls: is {limit}, and a run on 100 examples calls" in refused.value.message


async def test_a_plan_cannot_allow_more_calls_than_the_service_does(harness: Harness) -> None:
    with pytest.raises(InvalidInput, match=r"plan.rewards\[0\].judge.max_calls: is 1001; the limit is 1000"):
        await harness.plan(method="grpo", rewards=(Reward(judge=JudgeReward(id="tone", max_calls=1001)),))


async def test_what_a_judge_was_asked_is_part_of_a_runs_progress(harness: Harness) -> None:
    harness.trainings.generates = lambda step: answers(f"a{step}", f"b{step}")
    harness.judges.says = lambda answer: None if answer.answer == "b1" else 0.25

    name = await harness.queued(**JUDGED)
    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, harness.trainings.scores) == (RunState.SUCCEEDED, [[0.25, None], [0.25, 0.25]])
    counted = run_message(run).progress
    assert (counted.judge_calls, counted.judged_answers, counted.unscored_answers) == (4, 4, 1)


async def test_a_run_whose_judge_is_away_waits_and_goes_on_without_asking_anything_twice(harness: Harness) -> None:
    harness.trainings.generates = lambda step: answers(f"a{step}")
    name = await harness.queued(**JUDGED)
    asked = harness.judges.says

    def then_away(answer: JudgedAnswer) -> float | None:
        harness.judges.fails = [DependencyUnavailable("down", dependency="evaluator")]
        return asked(answer)

    harness.judges.says = then_away
    assert not await harness.train(name)
    waiting = await harness.run(name)
    assert not (await harness.folders.open(name)).examples.exists()
    harness.judges.says, harness.judges.fails = asked, []

    assert await harness.train(name)

    assert (waiting.state, waiting.message) == (RunState.RUNNING, "waits for evaluator: down")
    assert (waiting.progress.seconds > 0, waiting.progress.judge_calls) == (True, 1)
    assert [each.answer for each in harness.judges.asked] == ["a1", "a2"]
    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_a_run_fails_by_evaluators_reason_where_its_judge_changed(harness: Harness) -> None:
    harness.trainings.generates = lambda step: answers(f"a{step}")
    name = await harness.queued(**JUDGED)
    harness.judges.pinned = PinnedJudge(version="tone@2-0123456789ab")

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.FAILED, "JUDGE_CHANGED")
    assert "tone@2-" in run.message
