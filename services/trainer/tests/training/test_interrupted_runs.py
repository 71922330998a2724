import asyncio
from dataclasses import fields, replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version, request
from tidemill_core.application import ResourceKey
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_testkit.polling import eventually
from tidemill_trainer.registry.domain.model_version import ModelVersion, ModelVersionWasRegistered
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.ports import RunFolder, TrainingJob
from tidemill_trainer.training.register_trained import RegisterTrained
from tidemill_trainer.training.train_run import SAVING_S


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


class KilledOnceRegistered(RegisterTrained):
    """Crashes after registering."""

    @classmethod
    def like(cls, register: RegisterTrained) -> "KilledOnceRegistered":
        return cls(**{field.name: getattr(register, field.name) for field in fields(register)})

    async def __call__(self, run: TrainingRun, folder: RunFolder, *, base: ModelVersion) -> ModelVersion:
        await super().__call__(run, folder, base=base)
        raise SystemExit


def registrations(harness: Harness) -> list[ModelVersionWasRegistered]:
    events = [event for event in harness.registry.versions.published if isinstance(event, ModelVersionWasRegistered)]
    return events[1:]  # the first is the base


async def test_a_kill_between_registering_and_the_end_registers_nothing_twice(harness: Harness) -> None:
    name = await harness.queued()
    folder = await harness.folders.open(name)
    await harness.runs.update(
        "acme", name.id, lambda run: run.claim(0, now=harness.registry.clock.now()), request=request()
    )
    run = await harness.run(name)
    async with harness.trainings.running(_job_of(harness, folder)) as reports:
        async for _ in reports:
            pass
    base = await harness.registry.versions.get("acme", "smollm2@1")
    for _ in range(2):
        await harness.register(run, folder, base=base)

    await harness.train(name)

    assert len(registrations(harness)) == 1
    assert (await harness.run(name)).model_version == "lora@1"


async def test_a_kill_after_registering_is_made_good_without_another_training(harness: Harness) -> None:
    name = await harness.queued()
    killed = replace(harness.train_run, register=KilledOnceRegistered.like(harness.register))
    with pytest.raises(SystemExit):
        await killed(name, epoch=1)
    with pytest.raises(PreconditionFailed, match="it is registering"):
        await harness.run_crud.cancel(ADA, name.id, request=request())
    await _claim(harness, name, times=harness.train_run.needs.max_fruitless, epoch=1)
    with pytest.raises(PreconditionFailed, match="it is registering"):
        await harness.run_crud.cancel(ADA, name.id, request=request())

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.model_version) == (RunState.SUCCEEDED, "lora@1")
    assert (len(harness.trainings.jobs), len(registrations(harness))) == (1, 1)
    assert not list((harness.folder / "runs" / "acme").iterdir())


async def test_a_run_that_must_be_trained_again_can_be_cancelled_again(harness: Harness) -> None:
    name = await harness.queued()
    harness.registry.artifacts.away = True
    await harness.train(name)
    registering = await harness.run(name)
    harness.trainings.gate, harness.trainings.begun = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(harness.train(name))
    await harness.trainings.begun.wait()
    await eventually(lambda: _is(harness, name, RunState.RUNNING))

    await harness.run_crud.cancel(ADA, name.id, request=request())

    async with asyncio.timeout(10):
        assert await working
    assert (registering.state, registrations(harness)) == (RunState.REGISTERING, [])
    assert (await harness.run(name)).state is RunState.CANCELLED


async def test_a_run_that_takes_down_every_worker_before_its_first_step_fails_at_last(harness: Harness) -> None:
    name = await harness.queued()
    await _claim(harness, name, times=3)

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason, harness.trainings.jobs) == (RunState.FAILED, "WORKER_LOST", [])
    await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.train(name)
    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_a_run_whose_workers_end_may_go_on_as_long_as_it_gets_further(harness: Harness) -> None:
    name = await harness.queued()
    for step in (1, 2):
        await _claim(harness, name, times=3, step=step)

    await harness.train(name)

    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_a_run_whose_workers_all_do_the_same_steps_gets_no_further(harness: Harness) -> None:
    name = await harness.queued()
    for _ in range(3):
        await _claim(harness, name, times=1, step=2)
    await _claim(harness, name, times=1, step=1)

    await harness.train(name)

    assert (await harness.run(name)).reason == "WORKER_LOST"


async def test_a_store_that_is_away_is_waited_for(harness: Harness) -> None:
    harness.datasets.away = True
    name = await harness.queued()

    assert not await harness.train(name)
    waiting = await harness.run(name)
    harness.datasets.away = False
    await harness.train(name)

    assert (waiting.state, waiting.message) == (RunState.RUNNING, "waits for s3: no answer")
    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_a_store_that_is_away_for_long_loses_no_worker_and_fails_no_run(harness: Harness) -> None:
    harness.datasets.away = True
    name = await harness.queued()
    for _ in range(harness.train_run.needs.max_fruitless + 2):
        assert not await harness.train(name)

    harness.datasets.away = False
    await harness.train(name)

    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_a_store_that_is_away_while_a_run_is_registered_fails_it_neither(harness: Harness) -> None:
    name = await harness.queued()
    harness.registry.artifacts.away = True
    for _ in range(harness.train_run.needs.max_fruitless + 2):
        assert not await harness.train(name)
    waiting = await harness.run(name)

    harness.registry.artifacts.away = False
    await harness.train(name)

    assert (waiting.state, waiting.message) == (RunState.REGISTERING, "waits for s3: no answer")
    assert (await harness.run(name)).state is RunState.SUCCEEDED


async def test_time_that_was_computed_before_a_kill_counts(harness: Harness) -> None:
    harness.trainings.error = DependencyUnavailable("gone", dependency="mongodb")
    name = await harness.queued()
    await harness.train(name)
    seconds = (await harness.run(name)).progress.seconds
    harness.trainings.error = None

    await harness.train(name)

    assert seconds > 0
    assert harness.trainings.jobs[1].seconds_left == pytest.approx(3600 - seconds)


async def test_a_run_that_has_only_to_be_saved_is_given_the_time_for_it(harness: Harness) -> None:
    name = await harness.queued()
    await _claim(harness, name, times=1)
    late = Progress(step=4, steps=4, seconds=5000.0)
    await harness.runs.update("acme", name.id, lambda run: run.advance(late, epoch=0), request=request())

    await harness.train(name)

    assert harness.trainings.jobs[0].seconds_left == SAVING_S


async def test_a_run_starts_over_with_what_an_erasure_has_left_of_its_dataset_version(harness: Harness) -> None:
    name = await harness.queued()
    folder = await harness.folders.open(name)
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True)
    await _claim(harness, name, times=1, step=2)
    before = dataset_version()
    left = harness.datasets.publish(
        replace(before, train=replace(before.train, key="acme/sft/left", sha256="1ef7"), examples=99)
    )
    seen = list[tuple[Progress, bool]]()

    def note() -> None:
        (run,) = harness.runs.all()
        seen.append((run.progress, folder.checkpoints.exists()))

    harness.trainings.before_begin = note
    await harness.train(name)

    assert seen == [(Progress(), False)]
    run = await harness.run(name)
    assert (run.state, run.dataset, run.model_version) == (RunState.SUCCEEDED, left, "lora@1")
    version = await harness.registry.versions.get("acme", "lora@1")
    (card_at,) = (each.object for each in version.artifacts if each.file.path == "README.md")
    assert card_at is not None
    card = harness.registry.artifacts.objects[card_at.key].decode()
    assert "`sft@1`, 99 examples in the train split" in card
    assert "1ef7" in card


async def test_a_run_whose_dataset_version_has_too_few_examples_left_starts_no_process(harness: Harness) -> None:
    name = await harness.queued()
    harness.datasets.publish(replace(dataset_version(), examples=7))

    await harness.train(name)

    assert ((await harness.run(name)).reason, harness.trainings.jobs) == ("DATASET_TOO_SMALL", [])


async def _is(harness: Harness, name: ResourceKey, state: RunState) -> bool:
    return (await harness.run(name)).state is state


async def _claim(harness: Harness, name: ResourceKey, *, times: int, step: int = 0, epoch: int = 0) -> None:
    """Start attempts that crash before a step, the last one after a step."""
    for _ in range(times):
        await harness.runs.update(
            "acme", name.id, lambda run: run.claim(epoch, now=harness.registry.clock.now()), request=request()
        )
    if step:
        await harness.runs.update(
            "acme", name.id, lambda run: run.advance(Progress(step=step, steps=4), epoch=epoch), request=request()
        )


def _job_of(harness: Harness, folder: RunFolder) -> TrainingJob:
    return TrainingJob(
        folder=folder,
        base=harness.folder,
        base_name="smollm2@1",
        recipe=recipe_of(method="sft", lora={}, args={}),
        seconds_left=1.0,
        memory_bytes=2**30,
    )
