import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, model_files
from services.trainer.tests.training.fakes import Harness, adapter_config, dataset_version, plan_settings, request
from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Caller, Page, PageRequest, ResourceKey, Where
from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
)
from tidemill_core.resources import Write, etag_of
from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.errors import TrainingPlanNotFound
from tidemill_trainer.registry.domain.sources import OpenAiSource
from tidemill_trainer.training.domain.plan import RunLimits, TrainingPlan
from tidemill_trainer.training.domain.run import RunState, run_id
from tidemill_trainer.training.domain.run_events import RunWasQueued
from tidemill_trainer.training.mongo import PLANS

BOB = Caller(project="other", subject="bob")


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


def deleted(resource: Aggregate) -> None:
    resource.deleted = True


class DeletedOnceListed(InMemoryAggregates[TrainingPlan]):
    """Plans of which `gone` is deleted right after the list is read."""

    async def list(
        self, project: str, *, page: PageRequest, where: Where | None = None, show_deleted: bool = False
    ) -> Page[TrainingPlan]:
        found = await super().list(project, page=page, where=where, show_deleted=show_deleted)
        await self.update(project, "gone", deleted, request=request())
        return found


async def runs_of(harness: Harness) -> list[tuple[str, str]]:
    page = await harness.run_crud.list(ADA, PageRequest(), plan="")
    return [(run.plan, run.dataset.id) for run in page.items]


async def test_a_new_version_starts_the_runs_of_its_plans_once(harness: Harness) -> None:
    await harness.plan("lora")
    await harness.plan("other")
    await harness.plan("elsewhere", dataset="another")

    for _ in range(2):
        await harness.consume(ADA, dataset_version())

    assert sorted(await runs_of(harness)) == [("lora", "sft@1"), ("other", "sft@1")]
    assert [type(event) for event in harness.runs.published] == [RunWasQueued, RunWasQueued]
    assert harness.enqueued


async def test_a_run_copies_recipe_and_base_so_that_a_change_concerns_later_ones(harness: Harness) -> None:
    await harness.plan()
    await harness.consume(ADA, dataset_version(1))
    await harness.registry.register(model_files(vocab__json=b"{}"))
    await harness.change(args={"seed": 9.0})
    await harness.consume(ADA, dataset_version(2))

    first, second = [
        await harness.run(ResourceKey(project="acme", id=run_id("acme", "lora", f"sft@{n}"))) for n in (1, 2)
    ]
    assert (first.base, first.recipe.args["seed"]) == ("smollm2@1", 7)
    assert (second.base, second.recipe.args["seed"]) == ("smollm2@2", 9)


async def test_a_paused_plan_starts_nothing_until_it_goes_on_with_the_newest_version(harness: Harness) -> None:
    await harness.plan(paused=True)
    await harness.consume(ADA, dataset_version(1))
    await harness.consume(ADA, dataset_version(2))
    with pytest.raises(PreconditionFailed, match="paused"):
        await harness.run_crud.start(ADA, "lora", dataset_version="", write=Write(request=request()))
    assert await runs_of(harness) == []

    await harness.change(paused=False)
    await harness.change(paused=False)

    assert await runs_of(harness) == [("lora", "sft@2")]


async def test_an_older_version_that_is_received_again_does_not_replace_what_a_paused_plan_deferred(
    harness: Harness,
) -> None:
    await harness.plan(paused=True)
    for number in (10, 9):
        await harness.consume(ADA, dataset_version(number))

    await harness.change(paused=False)

    assert await runs_of(harness) == [("lora", "sft@10")]


async def test_a_newer_version_replaces_what_a_plan_deferred_in_a_pause(harness: Harness) -> None:
    await harness.with_deferred_work(1)

    await harness.consume(ADA, dataset_version(2))

    assert await runs_of(harness) == [("lora", "sft@2")]
    assert (await harness.plans.get("acme", "lora")).deferred is None


async def test_an_older_version_that_is_received_again_changes_nothing_newer(harness: Harness) -> None:
    name = await harness.with_deferred_work(10)
    await harness.consume(ADA, dataset_version(9))

    await harness.start_deferred.reconcile(name)

    assert sorted(await runs_of(harness)) == [("lora", "sft@10"), ("lora", "sft@9")]


async def test_a_deferred_run_is_queued_once_though_the_resuming_process_was_killed(harness: Harness) -> None:
    name = await harness.with_deferred_work(1)

    for found in (ResourceKey(project="acme", id="deleted"), name, name):
        await harness.start_deferred.reconcile(found)

    assert await runs_of(harness) == [("lora", "sft@1")]
    assert (await harness.plans.get("acme", "lora")).deferred is None
    assert len(harness.runs.published) == 1


@pytest.mark.parametrize("changes", [({"dataset": "faq"}, {"paused": False}), ({"dataset": "faq", "paused": False},)])
async def test_a_plan_that_goes_on_with_another_dataset_trains_nothing_of_the_old_one(
    harness: Harness, changes: tuple[dict[str, object], ...]
) -> None:
    await harness.plan(paused=True)
    await harness.consume(ADA, dataset_version(1))

    for change in changes:
        await harness.change("lora", **change)

    assert await runs_of(harness) == []


async def test_a_plan_that_is_deleted_while_a_version_is_received_keeps_it_from_no_other_plan(harness: Harness) -> None:
    plans = DeletedOnceListed(codec=PLANS, missing=TrainingPlanNotFound, clock=harness.registry.clock)
    start_deferred = replace(harness.start_deferred, plans=plans)
    for plan, paused in (("gone", True), ("lora", False)):
        await plans.add(TrainingPlan(id=plan, project="acme", settings=plan_settings(paused=paused)), request=request())

    await replace(harness.consume, plans=plans, start_deferred=start_deferred)(ADA, dataset_version())

    assert await runs_of(harness) == [("lora", "sft@1")]


async def test_a_version_in_another_project_is_refused(harness: Harness) -> None:
    await harness.plan()

    with pytest.raises(PermissionDenied):
        await harness.consume(ADA, dataset_version(project="other"))


async def test_a_run_whose_base_is_gone_fails_and_says_so(harness: Harness) -> None:
    await harness.plan()
    await harness.registry.models.update(
        "acme",
        "smollm2",
        deleted,
        request=request(),
    )

    await harness.consume(ADA, dataset_version())

    run = await harness.run(ResourceKey(project="acme", id=run_id("acme", "lora", "sft@1")))
    assert (run.state, run.reason) == (RunState.FAILED, "MODEL_NOT_FOUND")


async def test_a_run_that_its_base_failed_is_retried_on_what_the_base_means_now(harness: Harness) -> None:
    await harness.plan()
    await harness.registry.models.update(
        "acme",
        "smollm2",
        deleted,
        request=request(),
    )
    await harness.consume(ADA, dataset_version())
    name = ResourceKey(project="acme", id=run_id("acme", "lora", "sft@1"))

    with pytest.raises(NotFound):
        await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.registry.register(model_files())
    harness.trainings.config = adapter_config(base_model_name_or_path="smollm2@2")
    await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.base) == (RunState.SUCCEEDED, "smollm2@2")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": "No Slug"}, "plan.dataset"),
        ({"method": "ppo"}, "plan.method"),
        ({"args": {"output_dir": "/"}}, "plan.args.output_dir"),
        ({"limits": RunLimits(memory_bytes=1)}, "plan.limits.memory_bytes"),
        ({"limits": RunLimits(memory_bytes=2**40)}, "plan.limits.memory_bytes"),
        ({"base": "lora"}, "model lora does not exist"),
        ({"base": "smollm2@x"}, "plan.base"),
        ({"labels": {"k": "v" * 257}}, "plan.labels[k]"),
    ],
)
async def test_a_wrong_plan_is_refused_before_anything_is_stored(
    harness: Harness, changes: dict[str, object], field: str
) -> None:
    with pytest.raises((InvalidInput, NotFound), match=re.escape(field)):
        await harness.plan("lora", **changes)

    assert not (await harness.plan_crud.list(ADA, PageRequest())).items


async def test_only_labels_that_change_are_held_to_their_limits_so_that_a_plan_can_be_paused(harness: Harness) -> None:
    plan = await harness.plan("lora")
    labels = {str(number): "" for number in range(33)}
    changed = replace(plan.settings, labels=labels, paused=True)
    with pytest.raises(InvalidInput, match=r"plan\.labels: has 33 entries"):
        await harness.plan_crud.update(ADA, "lora", changed, {"labels"}, Write(request=request()))

    def of_an_earlier_release(plan: TrainingPlan) -> None:
        plan.settings, plan.labels = replace(plan.settings, labels=labels), labels

    await harness.plans.update("acme", "lora", of_an_earlier_release, request=request())

    assert (await harness.plan_crud.update(ADA, "lora", changed, {"paused"}, Write(request=request()))).settings.paused


async def test_a_remote_model_is_no_base(harness: Harness) -> None:
    await harness.registry.begin(OpenAiSource(model="gpt", base_url="https://api.example/v1"), model="gpt")

    with pytest.raises(PreconditionFailed, match="without weights in this registry"):
        await harness.plan(base="gpt")


async def test_a_plan_cannot_register_versions_of_its_own_base(harness: Harness) -> None:
    with pytest.raises(InvalidInput, match=r"plan\.base"):
        await harness.plan("smollm2")


async def test_the_same_request_makes_one_plan_and_another_is_answered_that_it_exists(harness: Harness) -> None:
    first = await harness.plan_crud.create(ADA, "lora", plan_settings(), Write(request=request("r1")))

    assert await harness.plan_crud.create(ADA, "lora", plan_settings(), Write(request=request("r1"))) == first
    with pytest.raises(AlreadyExists):
        await harness.plan()


async def test_validate_only_stores_nothing(harness: Harness) -> None:
    await harness.plan_crud.create(ADA, "lora", plan_settings(), Write(request=request(), validate_only=True))

    with pytest.raises(NotFound):
        await harness.plan_crud.get(ADA, "lora")


async def test_a_plan_of_another_project_is_not_there(harness: Harness) -> None:
    await harness.plan()

    with pytest.raises(NotFound):
        await harness.plan_crud.get(BOB, "lora")


async def test_a_change_decided_on_an_older_save_is_refused(harness: Harness) -> None:
    await harness.plan()
    await harness.change(paused=True)

    write = Write(request=request(), etag="1")
    with pytest.raises(Conflict, match="it changed since etag 1") as refusal:
        await harness.plan_crud.update(ADA, "lora", plan_settings(), frozenset({"paused"}), write)
    assert refusal.value.reason == "TRAINING_PLAN_CHANGED"
    with pytest.raises(Conflict) as refusal:
        await harness.plan_crud.delete(ADA, "lora", write)
    assert refusal.value.reason == "TRAINING_PLAN_CHANGED"


async def test_a_change_that_is_repeated_with_its_etag_is_answered_as_before(harness: Harness) -> None:
    plan = await harness.plan()
    write = Write(request=request("u1"), etag=etag_of(plan.version))

    changed, again = [
        await harness.plan_crud.update(ADA, "lora", plan_settings(paused=True), frozenset({"paused"}), write)
        for _ in range(2)
    ]

    assert changed.settings.paused
    assert again.version == changed.version


async def test_a_deleted_plan_starts_nothing_and_can_be_made_again(harness: Harness) -> None:
    await harness.plan()
    await harness.plan_crud.delete(ADA, "lora", Write(request=request()))

    await harness.consume(ADA, dataset_version())

    assert await runs_of(harness) == []
    assert (await harness.plan()).settings.dataset == "sft"


async def test_a_run_is_started_by_hand_on_the_newest_version(harness: Harness) -> None:
    await harness.plan()
    harness.datasets.publish(dataset_version(1))
    harness.datasets.publish(dataset_version(2))

    start = partial(harness.run_crud.start, ADA, "lora")
    first = await start(dataset_version="", write=Write(request=request("r1")))
    harness.datasets.publish(dataset_version(3))
    again = await start(dataset_version="", write=Write(request=request("r1")))
    named = await start(dataset_version="sft@1", write=Write(request=request("r2")))

    assert (first.dataset.id, again.id, named.dataset.id) == ("sft@2", first.id, "sft@1")


async def test_a_run_on_another_dataset_is_refused(harness: Harness) -> None:
    await harness.plan()

    with pytest.raises(InvalidInput, match="trains on versions of sft"):
        await harness.run_crud.start(ADA, "lora", dataset_version="faq@1", write=Write(request=request()))


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "model.embed_tokens", "transformer.wte"])
async def test_a_plan_does_not_train_the_vocabulary(harness: Harness, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"plan\.lora\.target_modules: names {re.escape(name)}"):
        await harness.plan(lora={"target_modules": ["q_proj", name]})
