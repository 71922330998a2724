"""Merged and int8 weights, made of a tiny model in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from services.trainer.tests.learning.tiny import write_base
from tidemill_core.models.int8 import INT8, QUANTIZATION, SCALE
from tidemill_core.models.manifest import ArtifactRefused, Manifest
from tidemill_kit.models.folders import checked_config
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.deriving.quantizing import rows_as_int8
from tidemill_trainer.deriving.weights import derive
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.weight_files import copy_others

IDS = torch.tensor([[5, 17, 80, 3]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    return written(folder, base)


def written(folder: Path, base: Path, **settings: Any) -> Path:  # noqa: ANN401 - of peft
    modules = ["q_proj", "down_proj"]
    recipe = LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM", **settings)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), recipe)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if "magnitude" in name else 0.0, std=0.2)
    adapted.save_pretrained(str(folder))
    return folder


def derived(folder: Path, weights: Path, *, adapter: Path | None = None, bits: int = 0) -> Path:
    made = folder / "made"
    derive(Job(made=str(made), weights=str(weights), weights_name="tiny@1", adapter=str(adapter or ""), bits=bits))
    return made


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def test_merged_weights_say_what_base_and_adapter_say(base: Path, adapter: Path, tmp_path: Path) -> None:
    made = derived(tmp_path, base, adapter=adapter)

    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    merged = AutoModelForCausalLM.from_pretrained(made)
    assert torch.allclose(logits(merged), logits(both), atol=1e-5)
    assert not torch.allclose(logits(merged), logits(AutoModelForCausalLM.from_pretrained(base)), atol=1e-3)
    others = {path.name for path in base.iterdir()} - {"model.safetensors"}
    assert {path.name: path.read_bytes() for path in made.iterdir() if path.name in others} == {
        name: (base / name).read_bytes() for name in others
    }
    assert load_file(made / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()


def test_int8_weights_are_each_within_half_a_step_of_what_they_were(base: Path, tmp_path: Path) -> None:
    made = derived(tmp_path, base, bits=8)

    before, after = load_file(base / "model.safetensors"), load_file(made / "model.safetensors")
    matrices = {name for name, tensor in after.items() if tensor.dtype is torch.int8}
    assert matrices == {name for name, tensor in before.items() if tensor.dim() == 2}
    for name in matrices:
        scale = after[name.removesuffix(".weight") + SCALE].float().unsqueeze(1)
        # The largest number of a row may lie beyond 127 times its scale, which is rounded to bfloat16.
        assert ((after[name].float() * scale - before[name].float()).abs() <= scale * 0.5 + 0.004 * 127 * scale).all()
    assert {name: before[name] for name in before.keys() - matrices}.keys() == {
        name for name in after if not name.endswith(SCALE) and name not in matrices
    }
    assert json.loads((made / "config.json").read_text())[QUANTIZATION] == INT8
    Manifest.from_folder(made)


def test_weights_merged_with_magnitudes_say_what_base_and_adapter_say(base: Path, tmp_path: Path) -> None:
    adapter = written(tmp_path / "adapter", base, use_dora=True)

    merged = AutoModelForCausalLM.from_pretrained(derived(tmp_path, base, adapter=adapter))

    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    assert torch.allclose(logits(merged), logits(both), atol=1e-5)


def test_an_adapter_is_merged_before_it_is_made_int8(base: Path, adapter: Path, tmp_path: Path) -> None:
    merged = load_file(derived(tmp_path, base, adapter=adapter) / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"

    made = load_file(derived(tmp_path, base, adapter=adapter, bits=8) / "model.safetensors")

    assert torch.equal(made[name], rows_as_int8(merged[name])[0])


def test_a_json_file_that_no_version_may_have_now_is_left_out(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "1_Pooling/config.json", "mine.json", "sub/config.json", "LICENSE"):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("{}")

    copy_others(base, tmp_path / "made", bits=0)

    copied = {file.path for file in Manifest.from_folder(tmp_path / "made").files}
    assert copied == {"config.json", "1_Pooling/config.json", "LICENSE"}


def test_rows_have_scales_of_their_own_and_zeros_stay_zeros() -> None:
    integers, scale = rows_as_int8(torch.tensor([[1.0, -2.0], [0.0, 0.0], [1e-4, 0.5e-4]]))

    assert integers.tolist() == [[64, -127], [0, 0], [127, 64]] or integers.tolist() == [[63, -127], [0, 0], [127, 63]]
    assert scale[1] == 0
    assert scale.dtype is torch.bfloat16


def test_int8_weights_are_loaded_by_nothing_that_takes_them_for_numbers(base: Path, tmp_path: Path) -> None:
    made = derived(tmp_path, base, bits=8)

    with pytest.raises(ArtifactRefused, match="int8 weights"):
        checked_config(made, AutoModelForCausalLM.from_config)
    with pytest.raises(TrainingStopped, match="int8 weights"):
        derived(tmp_path / "again", made, bits=8)


def test_weights_that_are_not_finite_make_nothing(tmp_path: Path) -> None:
    broken = write_base(tmp_path / "broken", broken=True)

    with pytest.raises(TrainingStopped) as stopped:
        derived(tmp_path, broken, bits=8)

    assert stopped.value.reason == "NOT_FINITE"
    assert not (tmp_path / "made").exists()


def test_an_adapter_of_another_base_makes_nothing(adapter: Path, tmp_path: Path) -> None:
    other = write_base(tmp_path / "other", layers=1)

    with pytest.raises(TrainingStopped) as stopped:
        derived(tmp_path, other, adapter=adapter)

    assert stopped.value.reason == "NOT_SUPPORTED"
