"""What a plan asks for and its base does not have."""

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version, request
from tidemill_trainer.errors import BaseNotTrainable, RecipeNotForBase
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.training.domain.run import RunState, run_id


def a_base(
    *, modules: Sequence[str] = ("q_proj", "v_proj"), template: str | None = "{{ messages }}"
) -> dict[str, bytes]:
    header = {
        f"model.layers.{layer}.self_attn.{name}.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [at, at + 4]}
        for at, (layer, name) in zip(count(0, 4), product(range(2), modules), strict=False)
    }
    text = json.dumps(header).encode()
    tokenizer = {"chat_template": template} if template else {}
    return {
        "config.json": json.dumps({"model_type": "llama", "max_position_embeddings": 512}).encode(),
        "model.safetensors": struct.pack("<Q", len(text)) + text + bytes(4 * len(header)),
        "tokenizer_config.json": json.dumps(tokenizer).encode(),
    }


async def test_a_plan_that_names_modules_which_its_base_lacks_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    harness = Harness(folder=tmp_path)
    await harness.registry.register(a_base())

    with pytest.raises(RecipeNotForBase) as made:
        await harness.plan(lora={"target_modules": ["q_proj", "query_key_value"]})
    await harness.plan(lora={"target_modules": ["q_proj", "layers.1.self_attn.v_proj"]})
    with pytest.raises(RecipeNotForBase) as changed:
        await harness.change(lora={"target_modules": ["c_attn"]})

    assert [each.field for each in made.value.violations] == ["plan.lora.target_modules"]
    text = made.value.violations[0].description
    assert text == "names query_key_value, which smollm2@1 does not have; it has q_proj, v_proj; or use all-linear"
    assert (made.value.reason, changed.value.reason) == ("BAD_RECIPE", "BAD_RECIPE")


async def test_a_run_fails_at_once_where_the_base_of_its_plan_has_other_modules_by_then(tmp_path: Path) -> None:
    harness = Harness(folder=tmp_path)
    await harness.registry.register(a_base())
    await harness.plan(lora={"target_modules": ["q_proj"]})
    await harness.registry.register(a_base(modules=["c_attn"]))

    await harness.consume(ADA, dataset_version())

    run = await harness.runs.get("acme", run_id("acme", "lora", "sft@1"))
    assert (run.state, run.reason) == (RunState.FAILED, "BAD_RECIPE")
    assert "it has c_attn" in run.message


async def test_a_length_that_the_base_does_not_read_is_refused_and_the_default_is_what_it_reads(tmp_path: Path) -> None:
    harness = Harness(folder=tmp_path)
    await harness.registry.register(a_base())

    with pytest.raises(RecipeNotForBase, match="is 513; the context of smollm2@1 is 512 tokens"):
        await harness.plan(args={"max_length": 513})
    await harness.plan("short", args={"max_length": 64})
    await harness.plan("plain", args={})
    await harness.consume(ADA, dataset_version())

    runs = [await harness.runs.get("acme", run_id("acme", plan, "sft@1")) for plan in ("short", "plain")]
    assert [run.recipe.args["max_length"] for run in runs] == [64, 512]


async def test_a_base_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    harness = Harness(folder=tmp_path)
    await harness.registry.register(a_base(template=None))

    with pytest.raises(BaseNotTrainable, match="no chat template"):
        await harness.plan()


async def test_a_base_that_was_stored_before_its_files_were_asked_is_checked_at_the_runs_start(tmp_path: Path) -> None:
    harness = Harness(folder=tmp_path)
    version = await harness.registry.register(a_base())

    def forget(version: ModelVersion) -> None:
        version.artifacts = tuple(replace(each, facts=None) for each in version.artifacts)

    await harness.registry.versions.update("acme", version.id, forget, request=request())

    plan = await harness.plan(lora={"target_modules": ["c_attn"]}, args={"max_length": 4096})

    assert plan.id == "lora"
