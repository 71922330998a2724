"""Int8 weights are served as int8, and say what the weights say that they stand for."""

import asyncio
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from services.inference.tests.engines.shop import ChatHere
from services.inference.tests.engines.test_transformers import whole
from services.inference.tests.tiny_model import write_tiny_model
from tidemill_core.models.int8 import INT8, LARGEST, QUANTIZATION, SCALE
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.engines.transformers.int8 import MAX_PACKED_ROWS, Int8Linear
from tidemill_inference.engines.transformers.weights import ModelWeights, stored_bytes, weight_bytes
from tidemill_inference.engines.vllm.given import write_given
from tidemill_inference.errors import ModelRefused

WEIGHTS = "model.safetensors"


def as_int8(folder: Path, *, tied: bool = False) -> tuple[Path, Path]:
    """Return a tiny model in int8, and one with the numbers that its integers stand for."""
    whole_numbers, exact = write_tiny_model(folder / "int8"), write_tiny_model(folder / "exact")
    made: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(exact / WEIGHTS).items():
        if tied and name == "lm_head.weight":
            continue
        if tensor.dim() != 2:
            made[name] = meant[name] = tensor
            continue
        scale = (tensor.abs().amax(dim=1) / LARGEST).to(torch.bfloat16)
        made[name] = (tensor / scale.float().unsqueeze(1)).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        made[name.removesuffix(".weight") + SCALE] = scale
        meant[name] = made[name].float() * scale.float().unsqueeze(1)
    for path, tensors, more in ((whole_numbers, made, {QUANTIZATION: dict(INT8)}), (exact, meant, {})):
        save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
        config = json.loads((path / "config.json").read_text()) | more | {"tie_word_embeddings": tied}
        (path / "config.json").write_text(json.dumps(config))
    return whole_numbers, exact


def weights_of(folder: Path, dtype: torch.dtype = torch.float32) -> ModelWeights:
    return ModelWeights(folder, name="tiny@1", dtype=dtype)


@pytest.mark.parametrize("tied", [False, True])
def test_it_computes_what_transformers_computes_with_the_numbers_that_they_stand_for(
    tmp_path: Path, *, tied: bool
) -> None:
    folder, exact = as_int8(tmp_path, tied=tied)
    ids = torch.arange(3, 200).reshape(1, -1)

    with torch.no_grad():
        found = weights_of(folder).tree()(ids).logits
        few = weights_of(folder).tree()(ids[:, :MAX_PACKED_ROWS]).logits
        expected = AutoModelForCausalLM.from_pretrained(exact, dtype=torch.float32)(ids).logits

    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert torch.allclose(few, expected[:, :MAX_PACKED_ROWS], rtol=1e-3, atol=1e-3)


async def test_it_answers_by_continuous_batching(tmp_path: Path) -> None:
    folder, _ = as_int8(tmp_path)
    engine = TransformersEngine(
        weights_of(folder), name="tiny@1", limits=EngineLimits(cache_tokens=2048), run_chat=ChatHere()
    )
    engine.start()
    try:
        text, end = await whole(engine)
    finally:
        await asyncio.to_thread(engine.close)

    assert text
    assert (end.reason, end.output_tokens) == ("length", 40)
    assert engine.fingerprint.endswith("float32 int8")


def test_int8_weights_are_int8_in_memory_and_their_trees_share_them(tmp_path: Path) -> None:
    folder, exact = as_int8(tmp_path)
    weights, whole_weights = weights_of(folder, torch.bfloat16), weights_of(exact, torch.bfloat16)

    assert weights.bytes < 0.6 * whole_weights.bytes
    assert weights.bytes <= stored_bytes(folder, name="tiny@1", dtype=torch.bfloat16)
    assert weight_bytes(weights.tree(), weights.tree()) == weights.bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, MAX_PACKED_ROWS, MAX_PACKED_ROWS + 1])
def test_a_layer_computes_as_with_its_numbers(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(3)
    layer = Int8Linear(64, 48, bias=True)
    layer.weight.data = torch.randint(-127, 128, (48, 64), dtype=torch.int8)
    layer.weight_scale.data, layer.bias.data = (torch.rand(48) / 100).to(dtype), torch.rand(48).to(dtype)  # type: ignore[union-attr] # it has one
    given = torch.randn(1, rows, 64).to(dtype)

    found = layer(given)

    numbers = layer.weight.double() * layer.weight_scale.double().unsqueeze(1)
    expected = given.double() @ numbers.T + layer.bias.double()  # type: ignore[union-attr] # ditto
    assert (found.dtype, found.shape) == (dtype, (1, rows, 48))
    assert torch.allclose(found.double(), expected, rtol=2e-2 if dtype is torch.bfloat16 else 1e-4, atol=5e-2)


def test_vllm_is_given_no_int8_weights(tmp_path: Path) -> None:
    folder, _ = as_int8(tmp_path)

    with pytest.raises(ModelRefused, match="only the engine transformers loads"):
        write_given(folder, tmp_path / "given", name="tiny@1")


def test_another_quantized_format_is_refused(tmp_path: Path) -> None:
    folder, _ = as_int8(tmp_path)
    tensors = load_file(folder / WEIGHTS)
    tensors[f"model.norm{SCALE}"] = torch.ones(1)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    with pytest.raises(ModelRefused, match="TypeError"):
        weights_of(folder)
