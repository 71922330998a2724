"""Writes full weights as files of a model: safetensors, with the config and tokenizer of what they came from."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open

from tidemill_core.models.int8 import INT8, QUANTIZATION
from tidemill_core.models.json_files import is_known
from tidemill_kit.models.folders import CONFIG, tensors_of
from tidemill_trainer.learning.failures import TrainingStopped

MAX_SHARD_BYTES = 5_000_000_000
"""Of a file of weights, as transformers writes them."""
FORMATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_MADE_ANEW = (".safetensors", ".safetensors.index.json")
_CARD = "README.md"


def format_of(folder: Path, *, reason: str) -> torch.dtype:
    """Return the format of most of the numbers of a folder's weights.

    Raises:
        TrainingStopped: `reason`, of another format.

    """
    counts: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            for each in map(opened.get_slice, opened.keys()):
                counts[each.get_dtype()] += torch.Size(each.get_shape()).numel()
    found = counts.most_common(1)[0][0] if counts else ""
    if found not in FORMATS:
        message = f"the weights are stored as {found or 'nothing'}; supported are {', '.join(FORMATS)}"
        raise TrainingStopped(message, reason=reason)
    return FORMATS[found]


def refuse_unknown(model: Any, folder: Path, *, name: str, reason: str) -> None:  # noqa: ANN401 - of transformers
    """Check that all of what is stored is a tensor of the model.

    Raises:
        TrainingStopped: `reason`, with the first that is none.

    """
    if unknown := sorted(set(tensors_of(folder)) - model.state_dict().keys()):
        message = f"{name} stores {unknown[0]}, which is no tensor of the model that transformers makes of it"
        raise TrainingStopped(message, reason=reason)


def tensors_to_store(model: Any, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:  # noqa: ANN401 - ditto
    """Return the model's tensors by the names under which they are stored; tied ones once.

    Floating-point numbers are of `dtype`, if it is given.

    Raises:
        TrainingStopped: NOT_FINITE, with the first that has such numbers.

    """
    tied = getattr(model, "all_tied_weights_keys", {})
    found = model.state_dict()
    stored = {
        key: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in found.items()
        if key not in tied or tensor.data_ptr() != found[tied[key]].data_ptr()
    }
    for key, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            message = f"{key} has numbers that are not finite"
            raise TrainingStopped(message, reason="NOT_FINITE")
    return stored


def write_weights(tensors: dict[str, torch.Tensor], folder: Path, *, max_file_bytes: int) -> None:
    """Write tensors to files of at most this size, and no larger than transformers makes them."""
    limit = min(MAX_SHARD_BYTES, max_file_bytes)
    save_torch_state_dict(tensors, folder, max_shard_size=limit, metadata={"format": "pt"})


def copy_others(folder: Path, made: Path, *, bits: int = 0) -> None:
    """Copy config, tokenizer and licence; the config says whether the weights are int8.

    JSON files of unknown names are left out: earlier versions of the registry stored them, and now it refuses them.
    """
    made.mkdir(parents=True)
    for path in (each for each in sorted(folder.rglob("*")) if each.is_file()):
        relative = path.relative_to(folder)
        if path.name.endswith(_MADE_ANEW) or str(relative) == _CARD or not is_known(relative.as_posix()):
            continue
        (made / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, made / relative)
    if bits:
        rewrite_config(made, lambda config: {**config, QUANTIZATION: dict(INT8)})


def rewrite_config(made: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Replace the config of a folder."""
    config = change(json.loads((made / CONFIG).read_text(encoding="utf-8")))
    (made / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
