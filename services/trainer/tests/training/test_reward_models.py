"""Runs that make reward models: what their versions say, and what is refused of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import model_files
from services.trainer.tests.training.fakes import Harness, adapter_config, dataset_version
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import ModelKind, PairAccuracy, RewardModel, tokenizer_digest
from tidemill_trainer.registry.messages import version_message
from tidemill_trainer.training.domain.model_card import check_adapter_config
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.messages import run_message

HEADED = {"modules_to_save": ["score"], "task_type": "SEQ_CLS"}
ACCURACY = PairAccuracy(pairs=40, correct=30)


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    harness = Harness(folder=tmp_path)
    await harness.registry.register(model_files(tokenizer__json=b"{}"))
    harness.trainings.config, harness.trainings.accuracy = adapter_config(**HEADED), ACCURACY
    return harness


async def made_by(harness: Harness) -> tuple[TrainingRun, ModelVersion]:
    name = await harness.queued(method="reward")
    await harness.train(name)
    run = await harness.run(name)
    assert (run.state, run.reason) == (RunState.SUCCEEDED, "")
    return run, await harness.registry.versions.get("acme", run.model_version)


async def test_a_reward_model_says_its_tokenizer_its_head_and_how_it_does_on_held_out_pairs(harness: Harness) -> None:
    base = await harness.registry.versions.get("acme", "smollm2@1")

    _, version = await made_by(harness)

    digest = next(file.sha256 for file in base.manifest.files if file.path == "tokenizer.json")
    assert version.reward_model == RewardModel(tokenizer_sha256=digest, accuracy=ACCURACY)
    message = version_message(version)
    assert (message.kind, version.kind) == (2, ModelKind.REWARD_MODEL)
    assert (message.reward_model.head, message.reward_model.accuracy.share) == ("score", 0.75)
    assert message.reward_model.accuracy.low == pytest.approx(0.598, abs=1e-3)
    (job,) = harness.trainings.jobs
    assert job.measures_accuracy


async def test_its_run_and_its_card_have_the_accuracy_with_its_interval(harness: Harness) -> None:
    run, version = await made_by(harness)

    assert run_message(run).progress.accuracy.pairs == 40
    card = await card_of(harness, version)
    assert "| Accuracy | 0.750 [0.598, 0.858] of 40 held-out pairs (95 %) |" in card
    assert "It scores answers and generates none." in card


async def test_without_held_out_pairs_nothing_is_measured_and_the_card_says_so(harness: Harness) -> None:
    harness.datasets.held_out = None

    _, version = await made_by(harness)

    assert version.reward_model is not None
    assert version.reward_model.accuracy is None
    assert not harness.trainings.jobs[0].measures_accuracy
    assert "not measured: the dataset version holds out no pairs that fit" in await card_of(harness, version)


async def test_other_methods_read_no_held_out_split(harness: Harness) -> None:
    harness.trainings.config = adapter_config()

    name = await harness.queued(method="dpo")
    await harness.train(name)

    (job,) = harness.trainings.jobs
    assert not job.measures_accuracy
    version = await harness.registry.versions.get("acme", (await harness.run(name)).model_version)
    assert version.kind is ModelKind.LANGUAGE_MODEL


async def test_after_an_erasure_the_held_out_split_is_read_into_the_new_folder(harness: Harness) -> None:
    name = await harness.queued(method="reward")
    harness.datasets.publish(replace(dataset_version(), examples=50))

    await harness.train(name)

    run = await harness.run(name)
    assert (run.state, run.progress.accuracy, run.dataset.examples) == (RunState.SUCCEEDED, ACCURACY, 50)


@pytest.mark.parametrize(
    ("config", "scores"),
    [
        (adapter_config(), True),
        (adapter_config(**HEADED | {"modules_to_save": ["score", "embed_tokens"]}), True),
        (adapter_config(modules_to_save=["score"], task_type="CAUSAL_LM"), True),
        (adapter_config(**HEADED), False),
    ],
)
def test_an_adapter_has_a_head_exactly_if_it_is_a_reward_model(config: dict[str, object], *, scores: bool) -> None:
    with pytest.raises(ArtifactRefused, match="modules_to_save must be"):
        check_adapter_config(config, base="smollm2@1", scores=scores)


def test_the_digest_of_a_tokenizer_is_that_of_what_makes_tokens() -> None:
    whole = ArtifactFile("tokenizer.json", 2, "a" * 64)
    parts = [ArtifactFile("vocab.json", 2, "b" * 64), ArtifactFile("merges.txt", 2, "c" * 64)]
    other = ArtifactFile("config.json", 2, "d" * 64)

    assert tokenizer_digest([whole, *parts, other]) == "a" * 64
    assert tokenizer_digest([*parts, other]) == tokenizer_digest(parts[::-1]) not in {"", tokenizer_digest(parts[:1])}
    assert tokenizer_digest([other]) == ""


async def card_of(harness: Harness, version: ModelVersion) -> str:
    (stored,) = (each.object for each in version.artifacts if each.file.path == "README.md")
    assert stored is not None
    return harness.registry.artifacts.objects[stored.key].decode()
