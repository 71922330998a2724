"""Pruned weights and dropped layers, made of tiny models in this process."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_core.models.manifest import Manifest
from tidemill_trainer.derivations.methods import PruneMagnitude
from tidemill_trainer.deriving import calibration, pruning
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.deriving.pruning import with_layers
from tidemill_trainer.deriving.weights import derive
from tidemill_trainer.learning import examples as learnt
from tidemill_trainer.learning.failures import TrainingStopped

LAYERS = 4
IDLE = 2
"""A layer that changes nothing, counted from 1."""
IN_LAYERS = ("self_attn", "mlp")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model one of whose layers does nothing."""
    folder = write_base(tmp_path_factory.mktemp("base"), layers=LAYERS)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    for name in tensors:
        if f"layers.{IDLE - 1}." in name and ("o_proj" in name or "down_proj" in name):
            tensors[name] = torch.zeros_like(tensors[name])
        elif any(part in name for part in IN_LAYERS):
            tensors[name] = 5 * tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "calibration.jsonl"
    path.write_bytes(example_lines(12))
    return path


def pruned(folder: Path, weights: Path, **settings: Any) -> tuple[Path, dict[str, str]]:  # noqa: ANN401 - of a job
    made = folder / "made"
    facts = derive(Job(made=str(made), weights=str(weights), weights_name="tiny@1", threads=1, **settings))
    return made, dict(facts)


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([[5, 17, 80, 3, 9, 41]])).logits
    return found


def test_the_smallest_weights_of_each_matrix_become_zero_and_the_others_stay(base: Path, tmp_path: Path) -> None:
    made, facts = pruned(tmp_path, base, sparsity=0.5)

    before, after = load_file(base / "model.safetensors"), load_file(made / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        if not any(part in name for part in IN_LAYERS):
            assert torch.equal(tensor, before[name])
            continue
        zeros = tensor == 0
        assert zeros.sum() >= tensor.numel() // 2
        assert torch.equal(tensor[~zeros], before[name][~zeros])
        if before[name].any():
            assert before[name][zeros].abs().max() <= before[name][~zeros].abs().min()
    assert facts["zeros"].startswith("0.5")
    Manifest.from_folder(made)


def test_wanda_keeps_small_weights_of_large_inputs_and_loses_less_than_magnitude(
    base: Path, examples: Path, tmp_path: Path
) -> None:
    uneven = _with_uneven_inputs(base, tmp_path / "uneven")

    by_size, _ = pruned(tmp_path / "magnitude", uneven, sparsity=0.5)
    by_inputs, facts = pruned(tmp_path / "wanda", uneven, sparsity=0.5, calibration=str(examples))

    exact = logits(uneven)
    assert (logits(by_inputs) - exact).norm() < (logits(by_size) - exact).norm()
    for name, tensor in load_file(by_inputs / "model.safetensors").items():
        if any(part in name for part in IN_LAYERS):
            assert ((tensor == 0).sum(dim=1) >= tensor.shape[1] // 2).all()
    assert facts["calibration examples"] == "12"


def _with_uneven_inputs(base: Path, folder: Path) -> Path:
    """Return the same model with some inputs of its layers large, and their weights as much smaller."""
    shutil.copytree(base, folder)
    tensors = load_file(base / "model.safetensors")
    scale = torch.ones(32)
    scale[::4] = 30.0
    for name, tensor in tensors.items():
        if "layernorm" in name:
            tensors[name] = tensor * scale
        elif any(part in name for part in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")):
            tensors[name] = tensor / scale
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_layer_that_changes_nothing_is_dropped_and_the_answers_stay(
    base: Path, examples: Path, tmp_path: Path
) -> None:
    made, facts = pruned(tmp_path, base, dropped_layers=1, calibration=str(examples))

    assert facts["dropped layers"] == f"{IDLE} of {LAYERS}"
    assert float(facts["angular distance"]) < 0.001
    assert "kept layers" not in facts
    assert json.loads((made / "config.json").read_text())["num_hidden_layers"] == LAYERS - 1
    assert torch.allclose(logits(made), logits(base), atol=1e-5)
    size = (made / "model.safetensors").stat().st_size
    assert size < (base / "model.safetensors").stat().st_size
    Manifest.from_folder(made)


def test_consecutive_layers_are_dropped_and_the_model_is_made_smaller_again(
    base: Path, examples: Path, tmp_path: Path
) -> None:
    made, facts = pruned(tmp_path, base, dropped_layers=2, calibration=str(examples))
    again, _ = pruned(tmp_path / "again", made, dropped_layers=1, calibration=str(examples))

    assert facts["dropped layers"] in {"1 to 2 of 4", "2 to 3 of 4", "3 to 4 of 4"}
    assert AutoModelForCausalLM.from_pretrained(again).config.num_hidden_layers == 1


def test_lists_with_an_entry_for_each_layer_lose_those_of_dropped_ones() -> None:
    config = {"num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "eos_token_id": [1, 2, 3], "layer_norm": 0.1}

    found = with_layers(config, [0, 2], of=3)

    assert found == {**config, "num_hidden_layers": 2, "layer_types": ["a", "c"]}


def test_layers_that_cannot_be_dropped_make_nothing(
    base: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingStopped, match="tiny@1 has 4 decoder layers: drop 1 to 3 of them, not 4") as stopped:
        pruned(tmp_path, base, dropped_layers=LAYERS, calibration=str(examples))

    assert stopped.value.reason == "NOT_SUPPORTED"
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr(pruning, "UNIFORM", ("mistral",))
    with pytest.raises(
        TrainingStopped, match="layers of tiny@1, of type llama, may differ; layers are dropped of mistral"
    ):
        pruned(tmp_path, base, dropped_layers=1, calibration=str(examples))


def test_too_few_examples_make_nothing(base: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_bytes(example_lines(7))

    with pytest.raises(TrainingStopped, match="7 of 7 examples are usable; at least 8 are needed") as stopped:
        pruned(tmp_path, base, sparsity=0.5, calibration=str(few))

    assert stopped.value.reason == "DATASET_TOO_SMALL"


def test_calibration_tokenizes_no_more_examples_than_it_reads(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, read = tmp_path / "many.jsonl", list[int]()
    many.write_bytes(b"\n".join([example_lines(300), b""]))

    def rows_of(examples: list[Any], *given: Any, **settings: Any) -> Any:  # noqa: ANN401 - passed on
        read.append(len(examples))
        return learnt.rows_of(examples, *given, **settings)

    monkeypatch.setattr(calibration, "rows_of", rows_of)
    rows = calibration.calibration_tokens(base, many, name="tiny@1")

    assert (len(rows), read) == (64, [64])
    again = calibration.calibration_tokens(base, many, name="tiny@1")
    assert all(map(torch.equal, rows, again))


def test_different_shares_have_different_names() -> None:
    close = [PruneMagnitude(sparsity=0.3333333), PruneMagnitude(sparsity=0.33333333)]

    assert len({method.name for method in close}) == 2
    assert PruneMagnitude(sparsity=0.5).name == "prune_magnitude_0.5"
