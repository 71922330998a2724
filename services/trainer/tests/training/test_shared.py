"""A plan trains on another project's base and dataset as long as that shares them."""

from pathlib import Path

import pytest

from services.trainer.tests.training.fakes import Harness, adapter_config, dataset_version, plan_settings, request
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_kit.access.grants import Shared
from tidemill_testkit.access import grant
from tidemill_trainer.errors import BaseNotTrainable, DatasetVersionNotFound, ModelNotFound
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.domain.run import RunState, TrainingRun

BOB = Caller(project="globex", subject="user:bob")
BASE = "acme/smollm2"


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


def share(harness: Harness, *, seq: int = 1, revoked: bool = False) -> None:
    harness.registry.grants.apply(grant(BASE, Shared.MODEL, to=BOB.project, seq=seq, revoked=revoked))


async def queued(harness: Harness) -> TrainingRun:
    await harness.plan_crud.create(BOB, "smollm2", plan_settings(base=BASE), Write(request=request()))
    harness.datasets.publish(dataset_version(1, project=BOB.project))
    return await harness.run_crud.start(BOB, "smollm2", dataset_version="", write=Write(request=request()))


async def test_a_plan_on_a_base_that_is_not_shared_is_refused_as_on_one_that_is_not_there(harness: Harness) -> None:
    settings = [plan_settings(base=base) for base in (BASE, "acme/none")]

    refused = []
    for each in settings:
        with pytest.raises(ModelNotFound) as error:
            await harness.plan_crud.create(BOB, "lora", each, Write(request=request()))
        refused.append(str(error.value).replace(each.base, ""))

    assert refused[0] == refused[1]


async def test_what_is_trained_on_a_shared_base_is_one_s_own_and_names_the_base(harness: Harness) -> None:
    share(harness)
    harness.trainings.config = adapter_config(base_model_name_or_path=f"{BASE}@1")

    run = await queued(harness)
    await harness.train(ResourceKey(project=BOB.project, id=run.id))

    made = await harness.registry.versions.get(BOB.project, "smollm2@1")
    assert isinstance(made.source, TrainedSource)
    assert made.source.base == f"{BASE}@1"
    assert harness.trainings.jobs[0].base_name == f"{BASE}@1"


async def test_a_run_that_waits_fails_once_its_base_is_shared_no_more(harness: Harness) -> None:
    share(harness)
    run = await queued(harness)
    share(harness, seq=2, revoked=True)

    await harness.train(ResourceKey(project=BOB.project, id=run.id))

    ended = await harness.runs.get(BOB.project, run.id)
    assert (ended.state, ended.reason) == (RunState.FAILED, "MODEL_NOT_FOUND")
    assert harness.trainings.jobs == []


def shared_version(number: int) -> DatasetVersion:
    """Return a version of acme's dataset as its event has it."""
    return dataset_version(number, project="acme")


async def test_a_new_version_of_a_dataset_starts_the_runs_of_those_it_is_shared_with(harness: Harness) -> None:
    share(harness)
    harness.readers = [BOB.project]
    for project, dataset in ((BOB.project, "acme/sft"), (BOB.project, "sft"), ("initech", "acme/sft")):
        plan = TrainingPlan(
            id=f"plan-{dataset.replace('/', '-')}", project=project, settings=plan_settings(base=BASE, dataset=dataset)
        )
        await harness.plans.add(plan, request=request())

    await harness.consume(Caller(project="acme"), shared_version(1))

    assert [(run.project, run.plan, run.dataset.id) for run in harness.runs.all()] == [
        (BOB.project, "plan-acme-sft", "acme/sft@1")
    ]


async def test_a_grant_that_is_revoked_meanwhile_keeps_no_other_project_from_its_run(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(harness)
    harness.readers = ["initech", BOB.project]
    plan = TrainingPlan(id="plan", project=BOB.project, settings=plan_settings(base=BASE, dataset="acme/sft"))
    await harness.plans.add(plan, request=request())
    check = harness.datasets.check

    def revoked(project: str, version: DatasetVersion) -> None:
        if project == "initech":
            raise DatasetVersionNotFound(version.id)
        check(project, version)

    monkeypatch.setattr(harness.datasets, "check", revoked)

    await harness.consume(Caller(project="acme"), shared_version(1))

    assert [(run.project, run.plan) for run in harness.runs.all()] == [(BOB.project, "plan")]


async def test_a_run_on_a_dataset_that_is_shared_no_more_fails_before_anything_is_read(harness: Harness) -> None:
    share(harness)
    harness.readers = [BOB.project]
    plan = TrainingPlan(id="lora", project=BOB.project, settings=plan_settings(base=BASE, dataset="acme/sft"))
    await harness.plans.add(plan, request=request())
    await harness.consume(Caller(project="acme"), shared_version(1))
    harness.datasets.error = DatasetVersionNotFound("acme/sft@1")

    (run,) = harness.runs.all()
    await harness.train(ResourceKey(project=BOB.project, id=run.id))

    ended = await harness.runs.get(BOB.project, run.id)
    assert (ended.state, ended.reason) == (RunState.FAILED, "DATASET_VERSION_NOT_FOUND")


@pytest.mark.parametrize("dataset", ["a/b/c", "/sft", "acme/", "Acme/sft"])
async def test_what_is_no_name_of_a_dataset_is_refused(harness: Harness, dataset: str) -> None:
    share(harness)
    with pytest.raises(InvalidInput, match=r"plan\.dataset"):
        await harness.plan_crud.create(BOB, "lora", plan_settings(base=BASE, dataset=dataset), Write(request=request()))


async def test_all_weights_of_a_shared_base_are_not_trained_since_what_is_made_would_be_a_copy_of_it(
    harness: Harness,
) -> None:
    share(harness)
    full = plan_settings(base=BASE, lora={}, use_peft=False)

    with pytest.raises(BaseNotTrainable, match=r"project acme, which shares it .* train an adapter \(use_peft: true, "):
        await harness.plan_crud.create(BOB, "whole", full, Write(request=request()))
