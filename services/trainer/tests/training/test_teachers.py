"""Plans that learn from a teacher: which models may be one, and what runs are given."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from services.trainer.tests.registry.fakes import ADA, model_files
from services.trainer.tests.training.fakes import Harness, adapter_config, dataset_version, request
from tidemill.trainer.v1.events_pb2 import TrainingRunQueued
from tidemill_core.application import ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import ModelNotFound, TeacherRefused
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.training.domain.run import RunState, run_id
from tidemill_trainer.training.domain.run_events import RunWasQueued
from tidemill_trainer.training.messages import plan_message, run_event, run_message, settings_of

DISTILL: dict[str, Any] = {"method": "distill", "teacher": "large"}


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    """Give a harness with a model `large@1` of its base's tokenizer."""
    harness = Harness(folder=tmp_path)
    await harness.registry.register(model_files(tokenizer__json=b"{}"))
    await harness.registry.register(model_files(tokenizer__json=b"{}", LICENSE=b"mine"), model="large")
    return harness


async def test_a_run_names_the_version_of_its_teacher_and_is_given_its_files(harness: Harness) -> None:
    name = await harness.queued(**DISTILL)
    harness.bases.fetched.clear()
    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.reason, run.recipe.teacher) == (RunState.SUCCEEDED, "", "large@1")
    assert harness.bases.fetched == ["smollm2@1", "large@1"]
    teacher = harness.trainings.jobs[-1].teacher
    assert teacher is not None
    assert teacher.adapter is None
    assert MessageToDict(run_message(run).recipe)["teacher"] == "large@1"
    version = await harness.registry.versions.get("acme", run.model_version)
    (card,) = (each.object for each in version.artifacts if each.file.path == "README.md")
    assert card is not None
    assert "| Teacher | `large@1` |" in harness.registry.artifacts.objects[card.key].decode()


async def test_an_adapter_teaches_with_its_base_which_is_fetched_once(harness: Harness) -> None:
    await harness.train(await harness.queued(plan="tuned"))
    name = await harness.queued(plan="lora", method="distill", teacher="tuned@1")
    harness.bases.fetched.clear()

    await harness.train(name)

    assert harness.bases.fetched == ["smollm2@1", "tuned@1"]
    teacher = harness.trainings.jobs[-1].teacher
    assert teacher is not None
    assert teacher.adapter is not None


async def test_the_authors_of_a_teacher_are_authors_of_what_it_teaches_and_the_event_names_it(harness: Harness) -> None:
    def by_eva(version: ModelVersion) -> None:
        version.authors = ("user:eva",)

    await harness.registry.versions.update("acme", "large@1", by_eva, request=request())
    queued = await harness.run(await harness.queued(**DISTILL))
    cancelled = await harness.run_crud.cancel(ADA, queued.id, request=request())
    retried = await harness.run_crud.retry(ADA, cancelled.id, request=request())

    assert ("user:eva" in queued.authors, "user:eva" in retried.authors) == (True, True)
    _, event = run_event(queued, RunWasQueued(occurred_at=NOON), 1)
    assert isinstance(event, TrainingRunQueued)
    assert event.teacher == "large@1"


async def test_a_plan_is_returned_with_its_teacher(harness: Harness) -> None:
    plan = await harness.plan(**DISTILL)

    assert settings_of(plan_message(plan)).teacher == "large"


async def test_a_run_without_its_teacher_names_the_one_that_is_there_when_it_is_retried(harness: Harness) -> None:
    await harness.plan(**DISTILL)
    await harness.registry.delete("large")
    await harness.consume(ADA, harness.datasets.publish(dataset_version(2)))
    name = ResourceKey(project="acme", id=run_id("acme", "lora", "sft@2"))
    failed = await harness.run(name)
    assert (failed.state, failed.reason) == (RunState.FAILED, "MODEL_NOT_FOUND")

    with pytest.raises(ModelNotFound):
        await harness.run_crud.retry(ADA, name.id, request=request())
    await harness.registry.register(model_files(tokenizer__json=b"{}", LICENSE=b"other"), model="large")

    retried = await harness.run_crud.retry(ADA, name.id, request=request())

    assert retried.recipe.teacher == "large@2"


async def test_a_teacher_of_another_tokenizer_is_refused_by_the_names_of_both(harness: Harness) -> None:
    await harness.registry.register(model_files(tokenizer__json=b'{"a": 1}'), model="other")

    with pytest.raises(TeacherRefused, match="other@1 cannot teach: its tokenizer is not that of smollm2@1"):
        await harness.plan(method="distill", teacher="other")


async def test_what_has_nothing_to_teach_is_refused(harness: Harness) -> None:
    with pytest.raises(TeacherRefused, match="smollm2@1 cannot teach: it is the base itself"):
        await harness.plan(method="distill", teacher="smollm2")
    with pytest.raises(ModelNotFound):
        await harness.plan(method="distill", teacher="nothing")
    with pytest.raises(InvalidInput, match=r"plan.teacher: is empty; distill needs the model"):
        await harness.plan(method="distill")
    with pytest.raises(InvalidInput, match=r"plan.teacher: is 'large'; sft has no teacher"):
        await harness.plan(method="sft", teacher="large")


async def test_a_reward_model_teaches_nothing(harness: Harness) -> None:
    harness.trainings.config = adapter_config(modules_to_save=["score"], task_type="SEQ_CLS")
    await harness.train(await harness.queued(plan="judge", method="reward"))

    with pytest.raises(TeacherRefused, match="judge@1 cannot teach: it is a reward model"):
        await harness.plan(method="distill", teacher="judge")


async def test_examples_longer_than_the_context_of_the_teacher_are_refused_with_both_numbers(harness: Harness) -> None:
    files = model_files(tokenizer__json=b"{}", config__json=b'{"model_type": "llama", "max_position_embeddings": 64}')
    await harness.registry.register(files, model="short")

    with pytest.raises(TeacherRefused, match=r"its context is 64 tokens, and args.max_length is 128: lower that"):
        await harness.plan(method="distill", teacher="short", args={"max_length": 128})
    plan = await harness.plan(method="distill", teacher="short", args={"max_length": 64})
    assert plan.settings.teacher == "short"
