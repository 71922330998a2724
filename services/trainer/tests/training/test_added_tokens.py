"""A plan that adds tokens to the vocabulary of its base."""

from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import model_files
from services.trainer.tests.training.fakes import Harness
from tidemill.trainer.v1 import training_pb2
from tidemill_core.errors import InvalidInput
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.training.messages import plan_message, settings_of


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


@pytest.mark.parametrize(
    ("tokens", "at", "why"),
    [
        (("heat pump", "Heat Pump"), "[1]", "is 'Heat Pump', which is there already but for its case"),
        ((" heat",), "[0]", "without space at either end"),
        (("heat\npump",), "[0]", "printable text"),
        (("x",), "[0]", "of 1 characters; it must have 2 to 64"),
        (("x" * 65,), "[0]", "of 65 characters; it must have 2 to 64"),
        (tuple(f"token{n}" for n in range(257)), "", "has 257 tokens; at most 256 are allowed"),
    ],
)
async def test_tokens_that_cannot_be_added_are_refused_with_what_is_allowed(
    harness: Harness, tokens: tuple[str, ...], at: str, why: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await harness.plan(added_tokens=tokens)

    (violation,) = refused.value.violations
    assert (violation.field, why in violation.description) == (f"plan.added_tokens{at}", True)


async def test_a_method_that_compares_with_its_base_keeps_the_vocabulary(harness: Harness) -> None:
    with pytest.raises(InvalidInput, match=r"dpo keeps the vocabulary of the base: use sft"):
        await harness.plan(method="dpo", args={}, added_tokens=("heat pump",))


async def test_an_adapter_with_added_tokens_is_registered_as_full_weights(harness: Harness) -> None:
    harness.trainings.made = model_files()
    name = await harness.queued(added_tokens=("heat pump", "COP"))

    await harness.train(name)

    run, version = await harness.run(name), await harness.registry.versions.get("acme", "lora@1")
    assert version.source == TrainedSource(run=run.id, base="", dataset_version="sft@1", finetuned_from="smollm2@1")
    assert harness.trainings.jobs[0].recipe.added_tokens == ("heat pump", "COP")
    assert run.recipe.declared["added_tokens"] == ["heat pump", "COP"]
    stored = {artifact.file.path: artifact.object for artifact in version.artifacts}["README.md"]
    assert stored is not None
    card = harness.registry.artifacts.objects[stored.key].decode()
    assert "a LoRA adapter on it, merged into it" in card
    assert "| Added tokens | 2," in card


async def test_added_tokens_are_declared_and_shown(harness: Harness) -> None:
    plan = await harness.plan(added_tokens=("heat pump",))

    written = plan_message(plan)

    assert (list(written.added_tokens), written.use_peft) == (["heat pump"], True)
    assert settings_of(written).added_tokens == ("heat pump",)
    assert settings_of(training_pb2.TrainingPlan(dataset="sft", base="m", method="sft")).use_peft
