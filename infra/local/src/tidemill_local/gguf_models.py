"""Writes a model of the Llama architecture, which comes as GGUF, as a folder that transformers reads.

The weights become bfloat16, and each file is the one that transformers would write. Nothing here imports transformers
or PyTorch: in a fresh environment that alone takes several times as long as the work.
"""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, ReaderTensor, TokenType, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

TRANSFORMERS = "5.23.0"
"""Whose files these are."""
KIND = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
"""What this knows: the order of rows and the way that text is split differ from family to family."""

_SPECIAL_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
_SETTINGS = {
    "_model_name_or_path": "general.name",
    "head_dim": "llama.rope.dimension_count",
    "hidden_size": "llama.embedding_length",
    "intermediate_size": "llama.feed_forward_length",
    "max_position_embeddings": "llama.context_length",
    "num_attention_heads": "llama.attention.head_count",
    "num_hidden_layers": "llama.block_count",
    "num_key_value_heads": "llama.attention.head_count_kv",
    "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "vocab_size": "llama.vocab_size",
    **{f"{ours}_token_id": f"tokenizer.ggml.{theirs}_token_id" for ours, theirs in _SPECIAL_TOKENS.items()},
}
_MODULES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(gguf: Path, folder: Path) -> None:
    """Write weights, configuration, tokenizer and chat template.

    Raises:
        ValueError: the file has a model of another family.
    """
    reader = GGUFReader(gguf)
    if (kind := {key: _value(reader, key) for key in KIND}) != KIND:
        message = f"{gguf.name} has {kind}; only {KIND} can be converted."
        raise ValueError(message)
    settings = {name: _value(reader, key) for name, key in _SETTINGS.items()}
    weights = {_name(tensor.name): _bfloat16(tensor, settings) for tensor in reader.tensors}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    _tokenizer(reader, tokens).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(_value(reader, "tokenizer.chat_template"), encoding="utf-8")
    for name, content in (
        ("config.json", _configuration(settings, rope_theta=_value(reader, "llama.rope.freq_base"))),
        ("generation_config.json", _generation(settings)),
        ("tokenizer_config.json", _tokenizer_configuration(settings, tokens)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _value(reader: GGUFReader, key: str) -> Any:  # noqa: ANN401 - as the file has it
    return reader.fields[key].contents() if key in reader.fields else None


def _name(theirs: str) -> str:
    """Return what transformers calls a tensor.

    >>> _name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    *block, module, kind = theirs.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{_MODULES[module]}.{kind}"


def _bfloat16(tensor: ReaderTensor, settings: dict[str, Any]) -> npt.NDArray[Any]:
    """Return a tensor as transformers has it: GGUF puts the two halves of each head's rotation side by side."""
    values = dequantize(tensor.data, tensor.tensor_type).astype(ml_dtypes.bfloat16)
    heads = {
        "attn_q": settings["num_attention_heads"],
        "attn_k": settings["num_key_value_heads"],
    }.get(tensor.name.split(".")[-2])
    if heads:
        pairs = values.reshape(heads, -1, 2, values.shape[-1])
        values = pairs.swapaxes(1, 2).reshape(values.shape)
    return np.ascontiguousarray(values)


def _configuration(settings: dict[str, Any], *, rope_theta: float) -> dict[str, Any]:
    return settings | {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rope_parameters": {"rope_theta": rope_theta, "rope_type": "default"},
        "tie_word_embeddings": True,
        "transformers_version": TRANSFORMERS,
        "use_cache": True,
    }


def _generation(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_token_id": settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")} | {
        "_from_model_config": True,
        "output_attentions": False,
        "output_hidden_states": False,
        "transformers_version": TRANSFORMERS,
        "use_cache": True,
    }


def _tokenizer(reader: GGUFReader, tokens: list[str]) -> Tokenizer:
    """Return a byte-level tokenizer; what the file marks as control is never cut into pieces."""
    merges = [tuple(pair.split(" ")) for pair in reader.fields["tokenizer.ggml.merges"].contents()]
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    bpe = models.BPE(
        vocab={token: at for at, token in enumerate(tokens)},
        merges=merges,
        continuing_subword_prefix="",
        end_of_word_suffix="",
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A:0 $B:1")
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return tokenizer


def _tokenizer_configuration(settings: dict[str, Any], tokens: list[str]) -> dict[str, Any]:
    return {f"{name}_token": tokens[settings[f"{name}_token_id"]] for name in _SPECIAL_TOKENS} | {
        "backend": "tokenizers",
        "is_local": True,
        "local_files_only": False,
        "model_max_length": int(1e30),  # what transformers writes where there is no limit
        "tokenizer_class": "TokenizersBackend",
    }
