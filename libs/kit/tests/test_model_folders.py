"""What a model's folder may ask for and say of itself; a network here is names and shapes, no transformers."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill_kit.manifest import ArtifactRefused, Manifest
from tidemill_kit.model_folders import checked_config, loadable_config, tensors_of

LLAMA = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def safetensors(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for each in shape:
            size *= each
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def shapes(hidden: int = 8, layers: int = 1) -> dict[str, tuple[int, ...]]:
    square, norm = (hidden, hidden), (hidden,)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (16, hidden), "model.norm.weight": norm}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        found |= {f"{at}.self_attn.{name}_proj.weight": square for name in "qkvo"}
        found |= {f"{at}.mlp.{name}_proj.weight": square for name in ("gate", "up", "down")}
        found |= {f"{at}.{name}_layernorm.weight": norm for name in ("input", "post_attention")}
    return found


def model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors(shapes()))
    return folder


def checked(folder: Path) -> object:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds of imports

    return checked_config(folder, AutoModelForCausalLM.from_config)


def test_weights_that_are_what_the_config_says_are_taken(tmp_path: Path) -> None:
    config = checked(model(tmp_path / "m", rope_theta=5e5, rms_norm_eps=1e-6))

    assert (config.hidden_size, config.rms_norm_eps) == (8, 1e-6)  # type: ignore[attr-defined] # of transformers
    assert config.rope_parameters["rope_theta"] == 5e5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "asked",
    [
        {"_attn_implementation": "kernels-community/evil"},
        {"attn_implementation": {"": "owner/repo"}},
        {"_experts_implementation": "x"},
        {"use_kernels": True},
        {"quantization_config": {"quant_method": "x"}},
        {"trust_remote_code": True},
        {"_name_or_path": "/etc"},
        {"unknown_text": "owner/repo"},
        {"num_labels": 10**9},
    ],
    ids=str,
)
def test_what_could_fetch_or_run_something_never_reaches_transformers(tmp_path: Path, asked: dict[str, object]) -> None:
    config = loadable_config(model(tmp_path / "m", **asked), tensors=11)

    (name, value) = next(iter(asked.items()))
    assert getattr(config, name, None) != value
    assert config._attn_implementation is None  # noqa: SLF001 - what transformers would fetch a kernel by


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"num_hidden_layers": 2}, "makes a model of"),
        ({"hidden_size": 4096, "num_hidden_layers": 4}, "weights have"),
        ({"vocab_size": 10**9}, "weights have"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and the weights have 11 tensors"),
        ({"intermediate_size": 10**6}, "weights have"),
        ({"model_type": "nothing"}, "is no config that can be read"),
        ({"hidden_size": "wide"}, "is no config|makes no model"),
    ],
    ids=str,
)
def test_a_config_that_lies_about_its_size_is_refused_before_anything_is_loaded(
    tmp_path: Path, lie: dict[str, object], why: str
) -> None:
    with pytest.raises(ArtifactRefused, match=why):
        checked(model(tmp_path / "m", **lie))


@pytest.mark.parametrize("name", ["../../OTHER/model.safetensors", "/cache/acme/model.safetensors", "a\\b", "x.bin", 3])
def test_an_index_leads_to_no_file_beyond_its_folder(tmp_path: Path, name: object) -> None:
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))

    with pytest.raises(ArtifactRefused, match="names what is no"):
        tensors_of(folder)
    with pytest.raises(ArtifactRefused, match="names what is no"):
        Manifest.from_folder(folder)


def test_an_index_names_files_of_the_model(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model-2.safetensors"}}))

    with pytest.raises(ArtifactRefused, match="which is none of the model's files"):
        tensors_of(folder)
    index.write_text(json.dumps({"weight_map": {"w": "model-1.safetensors"}}))
    assert tensors_of(folder) == shapes()
