"""Writes a folder of the Llama architecture as GGUF, the format of llama.cpp, by the package gguf (MIT)."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, get_tensor_name_map
from gguf.quants import quant_shape_to_byte_shape, quantize

from tidemill_core.errors import InvalidInput

TYPES: Mapping[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""How matrices are stored; vectors are always F32."""
BLOCK = 32
"""Numbers of a row that q8_0 and q4_0 take together."""
_MATRIX = 2
_COMPUTED = ".rotary_emb.inv_freq"
"""What some folders store although it follows from the config."""
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_SPLITTERS: Mapping[str, Any] = {
    "gpt-2": [_BYTE_LEVEL],
    "smollm": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL],
}
"""llama.cpp's names of how a tokenizer splits text before it merges, by what tokenizer.json says."""
_STORED = frozenset({"F32", "F16", "BF16"})
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "pad", "unk": "unk"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """What the conversion reads."""

    path: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]

    @property
    def heads(self) -> int:
        return int(self.config["num_attention_heads"])

    @property
    def key_heads(self) -> int:
        return int(self.config.get("num_key_value_heads") or self.heads)

    @property
    def head_size(self) -> int:
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A stored tensor, which is read when its numbers are asked for."""

    name: str
    shape: Sequence[int]
    kind: str
    data: npt.NDArray[np.uint8]

    def numbers(self) -> npt.NDArray[np.float32]:
        return _numbers(self.data, self.kind).reshape(self.shape)


def write_gguf(folder: Path, file: Path, *, name: str, kind: str, licence: str = "") -> None:
    """Write a file, tensor by tensor; it is there whole or not at all.

    Raises:
        InvalidInput: the model is of a family, or has a tokenizer, whose GGUF differs.

    """
    read = _Folder(path=folder, config=_json(folder / "config.json"), tokenizer=_json(folder / "tokenizer.json"))
    _check(read, kind)
    partial = file.with_name(f"{file.name}.partial")
    writer = GGUFWriter(partial, "llama")
    _add_settings(writer, read, name=name, kind=kind)
    if licence:
        writer.add_license(licence)
    _add_tokens(writer, read)
    tensors = _add_tensors(writer, read, kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, form in tensors:
            writer.write_tensor_data(quantize(_as_theirs(tensor.name, tensor.numbers(), read), form))
    finally:
        writer.close()
    partial.rename(file)


def _add_tensors(writer: GGUFWriter, read: _Folder, kind: str) -> Sequence[tuple[_Tensor, GGMLQuantizationType]]:
    """Announce all tensors; return them in that order, with how each is stored."""
    found = []
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, int(read.config["num_hidden_layers"]))
    for tensor in _tensors(read.path):
        if tensor.name.endswith(_COMPUTED):
            continue
        theirs = names.get_name(tensor.name, try_suffixes=(".weight",))
        if theirs is None:
            _refuse(f"the tensor {tensor.name} has no name in GGUF")
        form = TYPES[kind][0] if len(tensor.shape) == _MATRIX else GGMLQuantizationType.F32
        size = math.prod(quant_shape_to_byte_shape(tensor.shape, form))
        writer.add_tensor_info(theirs, tensor.shape, np.dtype(np.float32), size, raw_dtype=form)
        found.append((tensor, form))
    return found


def _check(read: _Folder, kind: str) -> None:
    config = read.config
    if config.get("model_type") != "llama":
        _refuse(f"its model_type is {str(config.get('model_type'))[:40]}, and llama can be written")
    if config.get("attention_bias") or config.get("mlp_bias"):
        _refuse("its layers have biases")
    if (rope := _rope(config)).get("rope_type", "default") != "default":
        _refuse(f"its rope_type is {str(rope['rope_type'])[:40]}, and default can be written")
    if kind in {"q8_0", "q4_0"} and (odd := [each for each in _widths(read) if each % BLOCK]):
        _refuse(f"rows of {odd[0]} numbers are no multiple of {BLOCK}, which {kind} needs: use bf16")
    if read.tokenizer.get("model", {}).get("type") != "BPE":
        _refuse("its tokenizer is no byte-level BPE")


def _widths(read: _Folder) -> list[int]:
    return [int(read.config["hidden_size"]), int(read.config["intermediate_size"]), read.heads * read.head_size]


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how positions are rotated, in the names of this or of earlier versions of transformers."""
    found: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return found


def _add_settings(writer: GGUFWriter, read: _Folder, *, name: str, kind: str) -> None:
    config = read.config
    writer.add_name(name)
    writer.add_file_type(TYPES[kind][1])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(read.heads)
    writer.add_head_count_kv(read.key_heads)
    writer.add_rope_dimension_count(read.head_size)
    writer.add_key_length(read.head_size)
    writer.add_value_length(read.head_size)
    writer.add_rope_freq_base(float(_rope(config).get("rope_theta") or config.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokens(writer: GGUFWriter, read: _Folder) -> None:
    model, size = read.tokenizer["model"], int(read.config["vocab_size"])
    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [TokenType.UNUSED] * size
    added = {entry["content"]: (entry["id"], entry.get("special")) for entry in read.tokenizer.get("added_tokens", [])}
    for token, number in model["vocab"].items():
        if number < size:
            tokens[number], kinds[number] = token, TokenType.NORMAL
    for token, (number, special) in added.items():
        if number < size:
            tokens[number], kinds[number] = token, TokenType.CONTROL if special else TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitter(read))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in model["merges"]])
    for ours, theirs in _SPECIAL.items():
        number = read.config.get(f"{ours}_token_id")
        if isinstance(number, list) and number:
            number = number[0]  # GGUF has one
        if isinstance(number, int) and number < size:
            getattr(writer, f"add_{theirs}_token_id")(number)
    writer.add_add_bos_token(value=False)
    template = read.path / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    elif isinstance(text := _json(read.path / "tokenizer_config.json").get("chat_template"), str):
        writer.add_chat_template(text)


def _splitter(read: _Folder) -> str:
    given = read.tokenizer.get("pre_tokenizer") or {}
    parts = given.get("pretokenizers", [given]) if given.get("type") == "Sequence" else [given]
    plain = [{key: value for key, value in part.items() if key != "trim_offsets"} for part in parts]
    for name, known in _SPLITTERS.items():
        if plain == known:
            return name
    return _refuse("its tokenizer splits text in a way that is not known here: " + json.dumps(plain)[:200])


def _as_theirs(name: str, values: npt.NDArray[np.float32], read: _Folder) -> npt.NDArray[np.float32]:
    """Return a tensor as llama.cpp has it: the halves of each head's rotation alternate row by row."""
    heads = {"q_proj": read.heads, "k_proj": read.key_heads}.get(name.split(".")[-2])
    if not heads:
        return values
    halves = values.reshape(heads, 2, -1, values.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _tensors(folder: Path) -> Iterator[_Tensor]:
    """Yield the tensors of all files."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                if entry["dtype"] not in _STORED:
                    _refuse(f"{name} is stored as {entry['dtype'][:20]}")
                yield _Tensor(name=name, shape=entry["shape"], kind=entry["dtype"], data=data[begin:end])


def _numbers(data: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.float32]:
    match kind:
        case "F16":
            return data.view(np.float16).astype(np.float32)
        case "BF16":
            return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        case _:
            return data.view(np.float32)


def _json(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _refuse(why: str) -> NoReturn:
    message = f"the model cannot be written as GGUF: {why}"
    raise InvalidInput(message)
