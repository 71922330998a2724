"""Who made a version: the authors of its plan, and all that started or retried its run."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version, plan_settings, request
from tidemill_core.application import ResourceKey
from tidemill_core.approvals import MAX_AUTHORS
from tidemill_core.resources import Write
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.run import run_id

MIA = replace(ADA, subject="user:mia", credential="jti-1")
BOB = replace(ADA, subject="user:bob", credential="jti-2")


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


async def change(harness: Harness, caller: object, **fields: object) -> TrainingPlan:
    write = Write(request=request())
    return await harness.plan_crud.update(caller, "lora", plan_settings(**fields), frozenset(fields), write)  # type: ignore[arg-type]


async def test_an_automatic_run_has_the_authors_of_its_plan(harness: Harness) -> None:
    await harness.plan_crud.create(MIA, "lora", plan_settings(), Write(request=request()))
    await change(harness, BOB, args={"max_steps": 4.0, "seed": 8.0})
    version = harness.datasets.publish(dataset_version(1))
    await harness.consume(ADA, version)

    await harness.train(ResourceKey(project="acme", id=run_id("acme", "lora", version.id)))

    made = await harness.registry.crud.get_version(ADA, "lora@1")
    assert (made.creator, made.authors) == ("", ("user:mia", "user:bob"))


async def test_pausing_a_plan_or_labelling_it_makes_no_author(harness: Harness) -> None:
    await harness.plan_crud.create(MIA, "lora", plan_settings(), Write(request=request()))
    await change(harness, BOB, paused=True)
    await change(harness, BOB, labels={"team": "support"})

    assert (await harness.plan_crud.get(ADA, "lora")).authors == ("user:mia",)


async def test_who_starts_or_retries_a_run_is_an_author_as_well(harness: Harness) -> None:
    await harness.plan_crud.create(MIA, "lora", plan_settings(), Write(request=request()))
    harness.datasets.publish(dataset_version(1))
    run = await harness.run_crud.start(BOB, "lora", dataset_version="sft@1", write=Write(request=request()))
    await harness.run_crud.cancel(ADA, run.id, request=request())
    eva = replace(BOB, subject="user:eva")

    await harness.run_crud.retry(eva, run.id, request=request())
    await harness.run_crud.cancel(ADA, run.id, request=request())
    await harness.run_crud.retry(ADA, run.id, request=request())
    await harness.train(ResourceKey(project="acme", id=run.id))

    made = await harness.registry.crud.get_version(ADA, "lora@1")
    assert (made.creator, made.authors) == ("user:eva", ("user:mia", "user:bob", "user:eva"))


async def test_what_no_credential_proves_is_no_author_and_of_many_the_last_stay(harness: Harness) -> None:
    plan = await harness.plan()
    assert not plan.authors

    for number in range(MAX_AUTHORS + 1):
        plan.write(f"user:{number}")
    plan.write("user:1")
    assert (plan.authors[0], plan.authors[-1], len(plan.authors)) == ("user:1", "user:50", MAX_AUTHORS)
