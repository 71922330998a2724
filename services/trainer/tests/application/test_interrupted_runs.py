import asyncio
from dataclasses import fields, replace
from pathlib import Path

import pytest

from services.trainer.tests.fakes import ADA
from services.trainer.tests.training_fakes import World, request
from tidemill_kit.errors import DependencyUnavailable, PreconditionFailed
from tidemill_testkit.polling import eventually
from tidemill_trainer.application.ports import RunFolder, RunName, TrainingJob
from tidemill_trainer.application.register_adapter import RegisterAdapter
from tidemill_trainer.application.train_run import SAVING_S
from tidemill_trainer.domain.model_version import ModelVersion, ModelVersionWasRegistered
from tidemill_trainer.domain.recipe import recipe_of
from tidemill_trainer.domain.training_run import Progress, RunState, TrainingRun


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(folder=tmp_path).with_base()


class KilledOnceRegistered(RegisterAdapter):
    """Registers, and is killed before it can tell."""

    @classmethod
    def like(cls, register: RegisterAdapter) -> "KilledOnceRegistered":
        return cls(**{field.name: getattr(register, field.name) for field in fields(register)})

    async def __call__(self, run: TrainingRun, folder: RunFolder) -> ModelVersion:
        await super().__call__(run, folder)
        raise SystemExit


def registrations(world: World) -> list[ModelVersionWasRegistered]:
    events = [event for event in world.registry.versions.published if isinstance(event, ModelVersionWasRegistered)]
    return events[1:]  # the first is the base


async def test_a_kill_between_registering_and_the_end_registers_nothing_twice(world: World) -> None:
    name = await world.queued()
    folder = await world.folders.open(name)
    await world.runs.update(
        "acme", name.run, lambda run: run.claim(0, now=world.registry.clock.now()), request=request()
    )
    run = await world.run(name)
    async with world.trainings.running(_job_of(world, folder)) as reports:
        async for _ in reports:
            pass
    for _ in range(2):
        await world.register(run, folder)

    await world.train(name)

    assert len(registrations(world)) == 1
    assert (await world.run(name)).model_version == "lora@1"


async def test_a_kill_after_registering_is_made_good_without_another_training(world: World) -> None:
    name = await world.queued()
    killed = replace(world.train, register=KilledOnceRegistered.like(world.register))
    with pytest.raises(SystemExit):
        await killed(name)
    with pytest.raises(PreconditionFailed, match="it is registering"):
        await world.cancel(ADA, name.run, request=request())
    await _claim(world, name, times=world.train.needs.most_fruitless, epoch=1)
    with pytest.raises(PreconditionFailed, match="it is registering"):
        await world.cancel(ADA, name.run, request=request())

    assert await world.train(name)

    run = await world.run(name)
    assert (run.state, run.model_version) == (RunState.SUCCEEDED, "lora@1")
    assert (len(world.trainings.jobs), len(registrations(world))) == (1, 1)
    assert not list((world.folder / "runs" / "acme").iterdir())


async def test_a_run_that_must_be_trained_again_can_be_cancelled_again(world: World) -> None:
    name = await world.queued()
    world.registry.artifacts.away = True
    await world.train(name)
    registering = await world.run(name)
    world.trainings.gate, world.trainings.begun = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(world.train(name))
    await world.trainings.begun.wait()
    await eventually(lambda: _is(world, name, RunState.RUNNING))

    await world.cancel(ADA, name.run, request=request())

    async with asyncio.timeout(10):
        assert await working
    assert (registering.state, registrations(world)) == (RunState.REGISTERING, [])
    assert (await world.run(name)).state is RunState.CANCELLED


async def test_a_run_that_takes_down_every_worker_before_its_first_step_fails_at_last(world: World) -> None:
    name = await world.queued()
    await _claim(world, name, times=3)

    assert await world.train(name)

    run = await world.run(name)
    assert (run.state, run.reason, world.trainings.jobs) == (RunState.FAILED, "WORKER_LOST", [])
    await world.retry(ADA, name.run, request=request())
    await world.train(name)
    assert (await world.run(name)).state is RunState.SUCCEEDED


async def test_a_run_whose_workers_end_may_go_on_as_long_as_it_gets_further(world: World) -> None:
    name = await world.queued()
    for step in (1, 2):
        await _claim(world, name, times=3, step=step)

    await world.train(name)

    assert (await world.run(name)).state is RunState.SUCCEEDED


async def test_a_run_whose_workers_all_do_the_same_steps_gets_no_further(world: World) -> None:
    name = await world.queued()
    for _ in range(3):
        await _claim(world, name, times=1, step=2)
    await _claim(world, name, times=1, step=1)

    await world.train(name)

    assert (await world.run(name)).reason == "WORKER_LOST"


async def test_a_store_that_is_away_is_waited_for(world: World) -> None:
    world.datasets.away = True
    name = await world.queued()

    assert not await world.train(name)
    waiting = await world.run(name)
    world.datasets.away = False
    await world.train(name)

    assert (waiting.state, waiting.message) == (RunState.RUNNING, "waits for s3: no answer")
    assert (await world.run(name)).state is RunState.SUCCEEDED


async def test_a_store_that_is_away_for_long_loses_no_worker_and_fails_no_run(world: World) -> None:
    world.datasets.away = True
    name = await world.queued()
    for _ in range(world.train.needs.most_fruitless + 2):
        assert not await world.train(name)

    world.datasets.away = False
    await world.train(name)

    assert (await world.run(name)).state is RunState.SUCCEEDED


async def test_a_store_that_is_away_while_a_run_is_registered_fails_it_neither(world: World) -> None:
    name = await world.queued()
    world.registry.artifacts.away = True
    for _ in range(world.train.needs.most_fruitless + 2):
        assert not await world.train(name)
    waiting = await world.run(name)

    world.registry.artifacts.away = False
    await world.train(name)

    assert (waiting.state, waiting.message) == (RunState.REGISTERING, "waits for s3: no answer")
    assert (await world.run(name)).state is RunState.SUCCEEDED


async def test_time_that_was_computed_before_a_kill_counts(world: World) -> None:
    world.trainings.error = DependencyUnavailable("gone", dependency="mongodb")
    name = await world.queued()
    await world.train(name)
    seconds = (await world.run(name)).progress.seconds
    world.trainings.error = None

    await world.train(name)

    assert seconds > 0
    assert world.trainings.jobs[1].seconds_left == pytest.approx(3600 - seconds)


async def test_a_run_that_has_only_to_be_saved_is_given_the_time_for_it(world: World) -> None:
    name = await world.queued()
    await _claim(world, name, times=1)
    late = Progress(step=4, steps=4, seconds=5000.0)
    await world.runs.update("acme", name.run, lambda run: run.advance(late, epoch=0), request=request())

    await world.train(name)

    assert world.trainings.jobs[0].seconds_left == SAVING_S


async def _is(world: World, name: RunName, state: RunState) -> bool:
    return (await world.run(name)).state is state


async def _claim(world: World, name: RunName, *, times: int, step: int = 0, epoch: int = 0) -> None:
    """Begin as workers do that are killed: before they tell of a step, or the last one after it."""
    for _ in range(times):
        await world.runs.update(
            "acme", name.run, lambda run: run.claim(epoch, now=world.registry.clock.now()), request=request()
        )
    if step:
        await world.runs.update(
            "acme", name.run, lambda run: run.advance(Progress(step=step, steps=4), epoch=epoch), request=request()
        )


def _job_of(world: World, folder: RunFolder) -> TrainingJob:
    return TrainingJob(
        folder=folder,
        base=world.folder,
        base_name="smollm2@1",
        recipe=recipe_of(method="sft", lora={}, args={}),
        seconds_left=1.0,
        memory_bytes=2**30,
    )
