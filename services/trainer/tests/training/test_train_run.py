import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, model_files, safetensors
from services.trainer.tests.training.fakes import FakeTrainings, Harness, adapter_config, dataset_version, request
from tidemill_core.application import ResourceKey
from tidemill_core.errors import PreconditionFailed
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_core.resources import Write
from tidemill_kit.store.objects import ObjectDamaged
from tidemill_trainer.errors import RunLost, TrainingFailed
from tidemill_trainer.registry.domain.model_version import ModelVersionWasRegistered, VersionState
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.plan import RunLimits
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.domain.run_events import RunHasFailed, RunHasSucceeded
from tidemill_trainer.training.ports import Fitted, RunFolder


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


def registrations(harness: Harness) -> list[ModelVersionWasRegistered]:
    events = [event for event in harness.registry.versions.published if isinstance(event, ModelVersionWasRegistered)]
    return events[1:]  # the first is the base


async def test_a_run_registers_an_adapter_with_its_card(harness: Harness) -> None:
    name = await harness.queued()

    assert await harness.train(name)

    run, version = await harness.run(name), await harness.registry.versions.get("acme", "lora@1")
    assert (run.state, run.model_version) == (RunState.SUCCEEDED, "lora@1")
    assert run.progress.losses == (LossPoint(1, 2.0), LossPoint(2, 1.0))
    assert version.state is VersionState.READY
    assert version.source == TrainedSource(run=run.id, base="smollm2@1", dataset_version="sft@1")
    stored = {artifact.file.path: artifact.object for artifact in version.artifacts}
    assert sorted(stored) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    card_at = stored["README.md"]
    assert card_at is not None
    card = harness.registry.artifacts.objects[card_at.key].decode()
    assert all(fact in card for fact in ("smollm2@1", "sft@1", "torch 2.13.0", '"seed": 7', "2.0000 at 1, 1.0000 at 2"))
    (event,) = registrations(harness)
    assert event.trained == version.source
    assert isinstance(harness.runs.published[-1], RunHasSucceeded)
    assert not list((harness.folder / "runs" / "acme").iterdir())


async def test_a_long_run_keeps_losses_from_its_beginning_to_its_end(harness: Harness) -> None:
    harness.trainings.losses = [1.0] * 2500
    name = await harness.queued()

    await harness.train(name)

    steps = [point.step for point in (await harness.run(name)).progress.losses]
    assert (steps[:3], steps[-1], len(steps)) == ([4, 8, 12], 2500, 625)


async def test_what_is_received_twice_is_trained_and_registered_once(harness: Harness) -> None:
    name = await harness.queued()
    await harness.train(name)

    assert await harness.train(name)

    assert len(registrations(harness)) == 1
    assert len(harness.trainings.jobs) == 1


@pytest.mark.parametrize("reason", ["OUT_OF_MEMORY", "DIVERGED", "TIME_LIMIT", "CRASHED", "BAD_RECIPE"])
async def test_a_training_that_fails_leaves_its_reason_and_no_model(harness: Harness, reason: str) -> None:
    harness.trainings.error = TrainingFailed("what happened", reason=reason)
    name = await harness.queued()

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason, run.message) == (RunState.FAILED, reason, "what happened")
    assert registrations(harness) == []
    assert isinstance(harness.runs.published[-1], RunHasFailed)


async def test_a_damaged_train_part_ends_the_run_with_its_reason(harness: Harness) -> None:
    name = await harness.queued()
    harness.datasets.error = ObjectDamaged(dataset_version().train)

    assert await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason, "is damaged" in run.message) == (RunState.FAILED, "OBJECT_DAMAGED", True)


async def test_a_fault_of_the_worker_ends_the_run_and_is_reported_without_its_text(harness: Harness) -> None:
    name = await harness.queued()
    harness.trainings.error = ZeroDivisionError("what a user wrote")

    with pytest.raises(ZeroDivisionError):
        await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.FAILED, "INTERNAL")
    assert run.message == "the training worker failed; see its log"


async def test_of_a_failed_run_only_the_checkpoints_stay_on_disk(harness: Harness) -> None:
    harness.trainings.error = TrainingFailed("killed", reason="CRASHED")
    name = await harness.queued()
    folder = await _used_folder(harness, name)

    await harness.train(name)

    assert list(folder.path.iterdir()) == [folder.checkpoints]


async def test_a_failed_run_that_is_reconciled_again_keeps_its_checkpoints(harness: Harness) -> None:
    harness.trainings.error = ZeroDivisionError()
    name = await harness.queued()
    folder = await _used_folder(harness, name)
    with pytest.raises(ZeroDivisionError):
        await harness.train(name)

    assert await harness.train(name)

    assert ((await harness.run(name)).reason, list(folder.path.iterdir())) == ("INTERNAL", [folder.checkpoints])


async def test_too_few_examples_start_no_process(harness: Harness) -> None:
    name = await harness.queued(examples=7)

    await harness.train(name)

    assert (await harness.run(name)).reason == "DATASET_TOO_SMALL"
    assert harness.trainings.jobs == []


async def test_a_failed_run_is_tried_again_by_one_command(harness: Harness) -> None:
    harness.trainings.error = TrainingFailed("killed", reason="CRASHED")
    name = await harness.queued()
    await harness.train(name)
    harness.trainings.error = None

    await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.attempt, run.reason) == (RunState.SUCCEEDED, 2, "")


async def test_a_run_that_is_done_is_neither_retried_nor_cancelled(harness: Harness) -> None:
    name = await harness.queued()
    await harness.train(name)

    with pytest.raises(PreconditionFailed, match="only failed and cancelled runs"):
        await harness.run_crud.retry(ADA, name.id, request=request())
    with pytest.raises(PreconditionFailed, match="cannot be cancelled"):
        await harness.run_crud.cancel(ADA, name.id, request=request())


async def test_a_cancelled_run_is_killed_soon_and_what_it_made_is_dropped(harness: Harness) -> None:
    harness.trainings.gate = asyncio.Event()
    name = await harness.queued()
    working = asyncio.create_task(harness.train(name))
    await harness.trainings.begun.wait()

    await harness.run_crud.cancel(ADA, name.id, request=request())

    async with asyncio.timeout(10):
        assert await working
    run = await harness.run(name)
    assert (run.state, run.reason, harness.trainings.killed) == (RunState.CANCELLED, "CANCELLED", 1)
    assert not list((harness.folder / "runs" / "acme").iterdir())
    assert registrations(harness) == []


async def test_a_worker_that_slept_through_its_lease_changes_nothing(harness: Harness) -> None:
    harness.trainings.gate = asyncio.Event()
    name = await harness.queued()
    sleeper = asyncio.create_task(harness.train(name))
    await harness.trainings.begun.wait()
    later = harness.registry.clock.now()
    await harness.runs.update("acme", name.id, lambda run: run.claim(99, now=later), request=request())
    taken = await harness.run(name)

    harness.trainings.gate.set()
    async with asyncio.timeout(10):
        await sleeper

    assert await harness.run(name) == taken
    assert registrations(harness) == []
    assert not list((harness.folder / "runs" / "acme" / name.id).iterdir())
    with pytest.raises(RunLost):
        taken.succeed("lora@1", now=later, epoch=1)


async def test_a_training_that_is_stopped_is_killed_and_leaves_only_its_checkpoints(harness: Harness) -> None:
    harness.trainings.gate = asyncio.Event()
    name = await harness.queued()
    working = asyncio.create_task(harness.train(name))
    await harness.trainings.begun.wait()
    folder = await _used_folder(harness, name)

    working.cancel()
    await asyncio.wait([working])

    assert (working.cancelled(), harness.trainings.killed) == (True, 1)
    assert list(folder.path.iterdir()) == [folder.checkpoints]
    assert (await harness.run(name)).state is RunState.RUNNING


@pytest.mark.parametrize(
    "trainings",
    [
        FakeTrainings(config=adapter_config(base_model_name_or_path="/etc")),
        FakeTrainings(config=adapter_config(auto_map={"AutoModel": "x.py"})),
        FakeTrainings(config=adapter_config(peft_type="IA3")),
        FakeTrainings(more_files={"more.json": b"{}"}),
        FakeTrainings(more_files={"adapter_model.bin": b"\x80\x04"}),
        FakeTrainings(more_files={"adapter_model.safetensors": b"no weights"}),
    ],
    ids=["base elsewhere", "code", "no lora", "another file", "a pickle", "no weights"],
)
async def test_an_adapter_that_is_not_what_it_must_be_is_never_registered(
    tmp_path: Path, trainings: FakeTrainings
) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    name = await harness.queued()
    for field in ("config", "more_files"):
        setattr(harness.trainings, field, getattr(trainings, field))

    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.FAILED, ArtifactRefused.reason)
    assert registrations(harness) == []


async def test_two_versions_make_two_versions_of_the_model(harness: Harness) -> None:
    first = await harness.queued(1)
    await harness.train(first)
    second = await harness.run_crud.start(ADA, "lora", dataset_version="sft@1", write=Write(request=request()))
    await harness.train(ResourceKey(project="acme", id=second.id))

    assert [event.trained.run for event in registrations(harness) if event.trained] == [first.id, second.id]
    assert (await harness.registry.crud.get_version(ADA, "lora")).id == "lora@2"


async def test_a_version_names_the_person_whose_credential_had_its_run_started(harness: Harness) -> None:
    mia = replace(ADA, subject="user:mia", credential="jti-1")
    await harness.train(await harness.queued(1))
    run = await harness.run_crud.start(mia, "lora", dataset_version="sft@1", write=Write(request=request()))
    await harness.train(ResourceKey(project="acme", id=run.id))

    made = [(await harness.registry.crud.get_version(ADA, name)).creator for name in ("lora@1", "lora@2")]
    assert made == ["", "user:mia"]


async def _used_folder(harness: Harness, name: ResourceKey) -> RunFolder:
    folder = await harness.folders.open(name)
    (folder.path / "hugging_face" / "datasets").mkdir(parents=True)
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True)
    (folder.path / "stderr.log").write_text("what a user wrote", encoding="utf-8")
    return folder


SMALL = Choice(batch_size=2, accumulation_steps=2, checkpointing=False)
FITTED = Fitted(
    fit=Fit(choice=SMALL, needed_bytes=5, limit_bytes=9), examples=ExampleCounts(offered=42, fitted=31, too_long=11)
)


async def test_a_run_says_how_it_was_fitted_and_what_was_left_out(harness: Harness) -> None:
    harness.trainings.fitted = FITTED
    name = await harness.queued()

    await harness.train(name)

    run, succeeded = await harness.run(name), harness.runs.published[-1]
    said = "31 of 42 examples are used; 11 longer than max_length = 1024 tokens"
    assert (run.fit, run.examples, run.warnings) == (FITTED.fit, FITTED.examples, (said,))
    assert isinstance(succeeded, RunHasSucceeded)
    assert (succeeded.fit, succeeded.examples) == (FITTED.fit, FITTED.examples)
    version = await harness.registry.versions.get("acme", "lora@1")
    card_at = next(each.object for each in version.artifacts if each.file.path == "README.md")
    assert card_at is not None
    card = harness.registry.artifacts.objects[card_at.key].decode()
    assert said in card
    assert "batch size 2, 2 accumulation steps" in card


async def test_a_few_examples_that_are_left_out_are_no_warning(harness: Harness) -> None:
    harness.trainings.fitted = replace(FITTED, examples=ExampleCounts(offered=42, fitted=41, too_long=1))
    name = await harness.queued()

    await harness.train(name)

    assert (await harness.run(name)).warnings == ()


async def test_a_run_whose_loss_did_not_fall_succeeds_and_says_so(harness: Harness) -> None:
    harness.trainings.losses = (1.0, 3.0) * 10
    name = await harness.queued()

    await harness.train(name)

    run = await harness.run(name)
    (warning,) = run.warnings
    assert run.model_version == "lora@1"
    assert warning.startswith("the loss did not fall: 2 in the first fifth of the steps, 2 in the last")


async def test_a_picked_choice_that_takes_too_much_is_made_smaller_once_by_itself(harness: Harness) -> None:
    harness.trainings.fitted, harness.trainings.out_of_memory = FITTED, 1
    name = await harness.queued(limits=RunLimits(memory_auto=True))
    await harness.change(limits=RunLimits(memory_auto=True, memory_bytes=2**31))

    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)
    assert [job.smaller_than for job in harness.trainings.jobs] == [None, SMALL]
    assert [job.memory_bytes for job in harness.trainings.jobs] == [2**32, 2**31]


async def test_a_second_time_it_fails_and_a_retry_takes_the_plans_limits_and_something_smaller(
    harness: Harness,
) -> None:
    harness.trainings.fitted, harness.trainings.out_of_memory = FITTED, 2
    name = await harness.queued(limits=RunLimits(memory_auto=True))
    await harness.train(name)
    assert (await harness.run(name)).reason == "OUT_OF_MEMORY"
    await harness.change(limits=RunLimits(memory_auto=True, memory_bytes=2**32))

    await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.train(name)

    assert (await harness.run(name)).state is RunState.SUCCEEDED
    last = harness.trainings.jobs[-1]
    assert (len(harness.trainings.jobs), last.smaller_than, last.memory_bytes) == (3, SMALL, 2**32)


async def test_what_a_recipe_says_itself_is_not_made_smaller(harness: Harness) -> None:
    harness.trainings.fitted, harness.trainings.out_of_memory = FITTED, 1
    name = await harness.queued()

    await harness.train(name)

    assert ((await harness.run(name)).reason, len(harness.trainings.jobs)) == ("OUT_OF_MEMORY", 1)


async def test_a_run_of_all_weights_registers_a_model_that_names_what_it_began_with(harness: Harness) -> None:
    harness.trainings.made = model_files()
    name = await harness.queued(lora={}, use_peft=False)

    assert await harness.train(name)

    run, version = await harness.run(name), await harness.registry.versions.get("acme", "lora@1")
    assert (run.state, run.reason, run.message) == (RunState.SUCCEEDED, "", "")
    assert version.source == TrainedSource(run=run.id, base="", dataset_version="sft@1", finetuned_from="smollm2@1")
    assert version.base == ""
    stored = {artifact.file.path: artifact for artifact in version.artifacts}
    assert sorted(stored) == ["README.md", "config.json", "model.safetensors"]
    assert stored["model.safetensors"].facts is not None
    card_at = stored["README.md"].object
    assert card_at is not None
    card = harness.registry.artifacts.objects[card_at.key].decode()
    assert "Full weights from `smollm2@1`: all of it, trained" in card
    assert "peft.LoraConfig" not in card
    (event,) = registrations(harness)
    assert event.trained == version.source


async def test_what_was_trained_whole_is_a_base_and_is_adapted_and_trained_on(harness: Harness) -> None:
    harness.trainings.made = model_files()
    await harness.train(await harness.queued(lora={}, use_peft=False))

    plan = await harness.plan("further", base="lora")
    again = await harness.plan("whole", base="lora@1", lora={}, use_peft=False)

    assert (plan.settings.base, again.settings.use_peft) == ("lora", False)


@pytest.mark.parametrize(
    "files", [{"adapter_config.json": b"{}", "adapter_model.safetensors": safetensors()}, {"config.json": b"{}"}]
)
async def test_what_is_no_model_is_not_registered_as_full_weights(harness: Harness, files: dict[str, bytes]) -> None:
    harness.trainings.made = files
    name = await harness.queued(lora={}, use_peft=False)

    await harness.train(name)

    assert ((await harness.run(name)).state, registrations(harness)) == (RunState.FAILED, [])
