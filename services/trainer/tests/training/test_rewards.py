"""Plans that learn from rewards of generated answers: what they may name, and what their runs are given."""

from dataclasses import replace
from pathlib import Path
from threading import Thread, current_thread
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from jsonschema import Draft202012Validator

from services.trainer.tests.registry.fakes import ADA, model_files
from services.trainer.tests.training.fakes import Harness, adapter_config, dataset_version, request
from tidemill.trainer.v1.events_pb2 import TrainingRunQueued
from tidemill_core.application import ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import ModelNotFound, RewardModelRefused
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.domain.rewards import LengthBounds, Reward, check_names
from tidemill_trainer.training.domain.run import RunState, run_id
from tidemill_trainer.training.domain.run_events import RunWasQueued
from tidemill_trainer.training.messages import plan_message, run_event, run_message, settings_of

JUDGE = Reward(reward_model="judge")
GRPO: dict[str, Any] = {"method": "grpo", "rewards": (JUDGE, Reward(citation=True, weight=0.5))}


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    """Give a harness with a reward model `judge@1` of its base."""
    harness = Harness(folder=tmp_path)
    await harness.registry.register(model_files(tokenizer__json=b"{}"))
    harness.trainings.config = adapter_config(modules_to_save=["score"], task_type="SEQ_CLS")
    await harness.train(await harness.queued(plan="judge", method="reward"))
    harness.trainings.config = adapter_config()
    return harness


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (Reward(), "plan.rewards[0]: must have exactly one of reward_model, pattern, length"),
        (Reward(rouge_l=True, citation=True), "plan.rewards[0]: must have exactly one of"),
        (Reward(citation=True, weight=0.0), "plan.rewards[0]: weight is 0.0; allowed: above 0, to 100"),
        (Reward(pattern="(?=a)b"), "pattern is none that RE2 takes"),
        (Reward(pattern="a" * 501), "pattern has 501 characters; the limit is 500"),
        (Reward(length=LengthBounds(min_characters=5, max_characters=4)), "length is 5 to 4 characters"),
        (Reward(length=LengthBounds(max_characters=-1)), "length is 0 to -1 characters"),
        (Reward(json_schema="{"), "json_schema is not JSON"),
        (Reward(json_schema='["a"]'), "json_schema is not a JSON object"),
        (Reward(json_schema='{"a": {"$ref": "http://a.example/"}}'), "json_schema has $ref, which is not supported"),
        (Reward(json_schema='{"pattern": "(a+)+"}'), "json_schema has pattern, which is not supported here"),
        (Reward(json_schema='{"allOf": [{"unevaluatedItems": false}]}'), "json_schema has unevaluatedItems, which is"),
        (Reward(json_schema='{"properties": {"a": {"pattern": "b"}}}'), "json_schema has pattern, which is not"),
        (Reward(json_schema='{"properties": {"enum": {"$ref": "#"}}}'), "json_schema has $ref, which is not"),
        (Reward(json_schema='{"type": 3}'), "json_schema is no JSON Schema at $.type"),
        (Reward(json_schema='{"minimum": NaN}'), "json_schema is not JSON"),
        (Reward(json_schema='{"a":' * 40 + "1" + "}" * 40), "json_schema is deeper than 32 levels"),
        (Reward(json_schema=f'{{"a": "{"b" * 9000}"}}'), "bytes; the limit is 8192"),
        (Reward(reward_model="globex/judge"), "it must be one of this project"),
    ],
)
def test_a_reward_that_cannot_be_given_is_refused_by_its_place(reward: Reward, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        recipe_of(method="grpo", lora={}, args={}, rewards=[reward])

    assert message in refused.value.message


@pytest.mark.parametrize(
    "schema",
    [
        '{"properties": {"pattern": {"type": "string"}, "$ref": {"const": {"pattern": 1}}}, "required": ["pattern"]}',
        '{"enum": [{"$ref": "a", "b": {"pattern": "c"}}]}',
        '{"properties": {"properties": {"properties": {"pattern": true}}}}',
    ],
)
def test_what_an_answer_may_have_may_be_named_as_a_keyword_is(schema: str) -> None:
    recipe = recipe_of(method="grpo", lora={}, args={}, rewards=[Reward(json_schema=schema)])

    assert recipe.rewards[0].json_schema == schema


def test_checks_of_one_kind_have_curves_of_their_own() -> None:
    rewards = [Reward(pattern="a"), Reward(citation=True), Reward(pattern="b")]

    assert check_names(rewards) == ["pattern_1", "citation", "pattern_2"]


@pytest.mark.parametrize(
    ("method", "rewards", "args", "message"),
    [
        ("grpo", 0, {}, "plan.rewards: are 0; grpo needs 1 to 8"),
        ("grpo", 9, {}, "plan.rewards: are 9; grpo needs 1 to 8"),
        ("sft", 1, {}, "plan.rewards: are of grpo alone"),
        ("grpo", 1, {"num_generations": 3}, "plan.args.num_generations: is 3; per_device_train_batch_size x"),
        ("grpo", 1, {"max_completion_length": 1024}, "plan.args.max_completion_length: is 1024; it must be below"),
        ("grpo", 1, {"beta": 0}, "plan.args.beta: is 0; allowed: a number from 0.001 to 10"),
        ("grpo", 1, {"use_vllm": True}, "plan.args.use_vllm: is not a supported setting"),
    ],
)
def test_rewards_and_settings_have_to_go_together(
    method: str, rewards: int, args: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        recipe_of(method=method, lora={}, args=args, rewards=[Reward(citation=True)] * rewards)

    assert message in refused.value.message


async def test_a_run_names_the_version_of_its_reward_model_and_is_given_its_files(harness: Harness) -> None:
    name = await harness.queued(plan="lora", **GRPO)
    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.SUCCEEDED, "")
    assert run.recipe.rewards == (replace(JUDGE, reward_model="judge@1"), GRPO["rewards"][1])
    assert list(harness.trainings.jobs[-1].reward_models) == ["judge@1"]
    assert MessageToDict(run_message(run).recipe)["rewards"][0] == {"reward_model": "judge@1", "weight": 1.0}


async def test_a_base_that_a_run_and_its_reward_models_have_is_fetched_once(harness: Harness) -> None:
    name = await harness.queued(plan="lora", **GRPO)
    harness.bases.fetched.clear()

    await harness.train(name)

    assert harness.bases.fetched == ["smollm2@1", "judge@1"]


async def test_the_authors_of_a_reward_model_are_authors_of_what_it_rewards_and_its_event_names_it(
    harness: Harness,
) -> None:
    def by_eva(version: ModelVersion) -> None:
        version.authors = ("user:eva",)

    await harness.registry.versions.update("acme", "judge@1", by_eva, request=request())
    queued = await harness.run(await harness.queued(plan="lora", **GRPO))
    cancelled = await harness.run_crud.cancel(ADA, queued.id, request=request())
    retried = await harness.run_crud.retry(ADA, cancelled.id, request=request())

    assert ("user:eva" in queued.authors, "user:eva" in retried.authors) == (True, True)
    _, event = run_event(queued, RunWasQueued(occurred_at=NOON), 1)
    assert isinstance(event, TrainingRunQueued)
    assert list(event.reward_models) == ["judge@1"]


async def test_a_plan_is_returned_with_the_rewards_that_it_was_given(harness: Harness) -> None:
    plan = await harness.plan(**GRPO)

    assert settings_of(plan_message(plan)).rewards == GRPO["rewards"]


async def test_a_reward_model_of_another_tokenizer_is_refused_by_the_names_of_both(harness: Harness) -> None:
    await harness.registry.register(model_files(tokenizer__json=b'{"a": 1}'), model="other")

    with pytest.raises(RewardModelRefused) as refused:
        await harness.plan(base="other", **GRPO)

    said = "judge@1 cannot reward answers: its tokenizer is that of smollm2@1, and not that of other@1"
    assert said in refused.value.message


async def test_a_run_without_its_reward_model_names_the_one_that_is_there_when_it_is_retried(
    harness: Harness,
) -> None:
    await harness.plan(plan="lora", **GRPO)
    await harness.registry.delete("judge")
    await harness.consume(ADA, harness.datasets.publish(dataset_version(2)))
    name = ResourceKey(project="acme", id=run_id("acme", "lora", "sft@2"))
    failed = await harness.run(name)
    assert (failed.state, failed.reason) == (RunState.FAILED, "MODEL_NOT_FOUND")

    with pytest.raises(ModelNotFound):
        await harness.run_crud.retry(ADA, name.id, request=request())
    harness.trainings.config = adapter_config(modules_to_save=["score"], task_type="SEQ_CLS")
    await harness.train(ResourceKey(project="acme", id=run_id("acme", "judge", "sft@2")))

    retried = await harness.run_crud.retry(ADA, name.id, request=request())

    assert retried.recipe.rewards[0].reward_model == "judge@2"


async def test_what_is_no_reward_model_rewards_nothing(harness: Harness) -> None:
    with pytest.raises(RewardModelRefused, match="smollm2@1 cannot reward answers: it is no reward model"):
        await harness.plan(method="grpo", rewards=(Reward(reward_model="smollm2"),))
    with pytest.raises(ModelNotFound):
        await harness.plan(method="grpo", rewards=(Reward(reward_model="nothing"),))


async def test_a_json_schema_is_checked_once_for_a_plan_and_not_on_the_event_loop(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking: list[Thread] = []
    monkeypatch.setattr(Draft202012Validator, "check_schema", lambda _schema: checking.append(current_thread()))

    await harness.plan(method="grpo", rewards=(Reward(json_schema='{"title": "checked once"}'),))

    (thread,) = checking
    assert thread is not current_thread()
