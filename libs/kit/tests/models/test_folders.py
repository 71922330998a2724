"""What a model's folder may ask for and say of itself; a network here is names and shapes, no transformers."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill_core.models.json_files import TEXT_TOKENS
from tidemill_core.models.manifest import ArtifactRefused, Manifest
from tidemill_kit.models.folders import checked_config, loadable_config, passed_on, stored_in, tensors_of

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


EVERYTHING = {
    "config.json": {**LLAMA, "_name_or_path": "/etc", "tokenizer_class": "os.system", "transformers_version": "../x"},
    "tokenizer_config.json": {
        "auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]},
        "tokenizer_class": "pipeline",
        "tokenizer_file": "/etc/passwd",
        "vocab_file": "../../other/vocab.json",
        "name_or_path": "owner/repo",
        "init_inputs": ["/etc/passwd"],
        "trust_remote_code": True,
        "fast_tokenizer_files": ["tokenizer.4.0.json"],
        "backend": "custom",
        "eos_token": {"content": "</s>", "lstrip": False, "module": "os"},
        "model_max_length": 512,
        "padding_side": "/etc",
        "added_tokens_decoder": {"3": {"content": "<x>", "special": True, "path": "/etc"}, "x": "y"},
        "chat_template": [{"name": "default", "template": "{{ messages }}", "file": "/etc"}],
        TEXT_TOKENS: ["heat pump", 5, {"place": "/etc"}],
    },
    "generation_config.json": {
        "eos_token_id": [1, 2],
        "temperature": 0.5,
        "custom_generate": "owner/repo",
        "cache_implementation": "owner/repo",
        "assistant_model": "../x",
    },
    "special_tokens_map.json": {"pad_token": "<pad>", "place": "/etc", "extra_special_tokens": ["<y>", 5]},
    "added_tokens.json": {"<z>": 7, "evil": "owner/repo"},
    "processor_config.json": {"processor_class": "Evil"},
    "adapter_config.json": {"base_model_name_or_path": "/etc"},
    "tokenizer.4.0.json": {},
}


def test_transformers_is_given_known_files_with_known_keys_and_no_others(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    for name, content in EVERYTHING.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "evil.py").write_text("raise SystemExit", encoding="utf-8")

    with passed_on(folder) as given:
        found = {path.name: path for path in given.iterdir()}
        read = {name: json.loads(path.read_bytes()) for name, path in found.items() if path.suffix == ".json"}
        assert found["model.safetensors"].read_bytes() == (folder / "model.safetensors").read_bytes()

    assert not given.exists()
    assert set(found) == {"model.safetensors", *read}
    assert read == {
        "config.json": {"model_type": "llama", "vocab_size": 16},
        "tokenizer_config.json": {
            "eos_token": {"content": "</s>", "lstrip": False},
            "model_max_length": 512,
            "added_tokens_decoder": {"3": {"content": "<x>", "special": True}},
            "chat_template": [{"name": "default", "template": "{{ messages }}"}],
            TEXT_TOKENS: ["heat pump"],
        },
        "generation_config.json": {"eos_token_id": [1, 2], "temperature": 0.5},
        "special_tokens_map.json": {"pad_token": "<pad>", "extra_special_tokens": ["<y>"]},
        "added_tokens.json": {"<z>": 7},
    }


def test_a_tokenizer_class_that_transformers_has_is_passed_on(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizerFast"}', encoding="utf-8")

    with passed_on(folder) as given:
        read = json.loads((given / "tokenizer_config.json").read_bytes())

    assert read == {"tokenizer_class": "LlamaTokenizerFast"}


def test_values_of_another_type_than_transformers_reads_are_left_out(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_bytes()) | {"tokenizer_class": []}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        '{"model_input_names": [[]], "tokenizer_class": {}, "clean_up_tokenization_spaces": false}', encoding="utf-8"
    )

    with passed_on(folder) as given:
        read = json.loads((given / "tokenizer_config.json").read_bytes())

    assert read == {"clean_up_tokenization_spaces": False}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json", "added_tokens.json"])
def test_a_file_that_is_no_object_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = model(tmp_path / "m")
    (folder / name).write_text("[[]]", encoding="utf-8")

    with pytest.raises(ArtifactRefused, match=name), passed_on(folder):
        pass


def test_a_tokenizer_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "tokenizer.json").symlink_to("/etc/passwd")

    with pytest.raises(ArtifactRefused, match=r"tokenizer\.json"), passed_on(folder):
        pass


@pytest.mark.parametrize("path", ["other.json", "onnx/config.json", "1_Pooling/other.json", "tokenizer.4.0.json"])
def test_json_that_no_model_is_loaded_by_is_no_part_of_one(tmp_path: Path, path: str) -> None:
    folder = model(tmp_path / "m")
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("{}", encoding="utf-8")

    with pytest.raises(ArtifactRefused, match="leave it out"):
        Manifest.from_folder(folder)


def test_what_is_stored_in_a_format_is_known_by_name_and_bytes(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")

    assert stored_in(folder, "float32")["model.embed_tokens.weight"] == 16 * 8 * 4
    assert stored_in(folder, "bfloat16") == {}
