"""Makes the files of a version of those of another one."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tidemill_core.models.int8 import INT8, QUANTIZATION
from tidemill_core.models.json_files import is_known
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.folders import CONFIG, checked_config, passed_on, tensors_of
from tidemill_trainer.deriving.calibration import NOT_SUPPORTED, calibration_tokens
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.deriving.pruning import drop_layers, prune_by_magnitude, prune_by_wanda, with_layers
from tidemill_trainer.deriving.quantizing import quantized
from tidemill_trainer.learning.failures import TrainingStopped

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tidemill-trainer")
MAX_SHARD_BYTES = 5_000_000_000
"""Of a file of weights, as transformers writes them."""
_FORMATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_MADE_ANEW = (".safetensors", ".safetensors.index.json")
_CARD = "README.md"


def derive(job: Job) -> Mapping[str, str]:
    """Write the files, and return facts for the card.

    Raises:
        TrainingStopped: with the reason.

    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if job.threads:
        torch.set_num_threads(job.threads)
    folder, made = Path(job.weights), Path(job.made)
    partial = made.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(made, ignore_errors=True)
    with torch.no_grad():
        model = _loaded(folder, job.weights_name)
        if job.adapter:
            model = _merged(model, Path(job.adapter), base=job.weights_name)
        _refuse_unknown(model, folder, name=job.weights_name)
        layers = int(model.config.get_text_config().num_hidden_layers) if job.dropped_layers else 0
        pruned = dict(_pruned(model, job))
        kept = [int(each) for each in pruned.pop("kept layers", "").split(",") if each]
        tensors = _tensors(model)
        if job.bits:
            tensors = quantized(model, tensors)
        _copy_others(folder, partial, bits=job.bits)
        if kept:
            _rewrite_config(partial, lambda config: with_layers(config, kept, of=layers))
        limit = min(MAX_SHARD_BYTES, job.max_file_bytes)
        save_torch_state_dict(tensors, partial, max_shard_size=limit, metadata={"format": "pt"})
    if kept:
        checked_config(partial, AutoModelForCausalLM.from_config)  # that the config is one of these weights
    partial.rename(made)
    facts = {name: version(name) for name in LIBRARIES} | {"format": str(model.dtype).removeprefix("torch.")}
    return facts | pruned


def _pruned(model: Any, job: Job) -> Mapping[str, str]:  # noqa: ANN401 - of transformers
    """Prune a model in place as the job says; return facts for the card."""
    if not job.sparsity and not job.dropped_layers:
        return {}
    model.eval()
    name = job.weights_name
    if not job.calibration:
        return prune_by_magnitude(model, job.sparsity, name=name)
    rows = calibration_tokens(Path(job.weights), Path(job.calibration), name=name)
    if job.dropped_layers:
        return drop_layers(model, rows, job.dropped_layers, name=name)
    return prune_by_wanda(model, rows, job.sparsity, name=name)


def _loaded(folder: Path, name: str) -> Any:  # noqa: ANN401 - of transformers
    """Return the model in the format that its weights are stored in."""
    try:
        config = checked_config(folder, AutoModelForCausalLM.from_config)
        with passed_on(folder) as given:
            return AutoModelForCausalLM.from_pretrained(
                given,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=_format_of(folder),
            )
    except ArtifactRefused as error:
        message = f"{name} cannot be loaded: {error.message}"
        raise TrainingStopped(message, reason=NOT_SUPPORTED) from error


def _format_of(folder: Path) -> torch.dtype:
    """Return the format of most of the numbers."""
    numbers: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            for each in map(opened.get_slice, opened.keys()):
                numbers[each.get_dtype()] += torch.Size(each.get_shape()).numel()
    found = numbers.most_common(1)[0][0] if numbers else ""
    if found not in _FORMATS:
        message = f"the weights are stored as {found or 'nothing'}; supported are {', '.join(_FORMATS)}"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)
    return _FORMATS[found]


def _merged(model: Any, adapter: Path, *, base: str) -> Any:  # noqa: ANN401 - of transformers
    """Return the model with a LoRA adapter added to its weights (Hu et al., 2021), by PEFT."""
    wrapped: Any = get_peft_model(model, LoraConfig.from_pretrained(str(adapter)))
    read: Any = set_peft_model_state_dict(wrapped, load_peft_weights(str(adapter), device="cpu"))
    missing = [key for key in read.missing_keys if "lora_" in key]
    if wrong := [*read.unexpected_keys, *missing]:
        message = f"the adapter's layers are not those of {base}: {wrong[0]}"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)
    try:
        return wrapped.merge_and_unload(progressbar=False, safe_merge=True)
    except ValueError as error:  # how PEFT says that merged weights are not finite
        message = "the merged weights are not finite: the adapter is damaged"
        raise TrainingStopped(message, reason="NOT_FINITE") from error


def _refuse_unknown(model: Any, folder: Path, *, name: str) -> None:  # noqa: ANN401 - of transformers
    """Check that all of what is stored is a tensor of the model."""
    if unknown := sorted(set(tensors_of(folder)) - model.state_dict().keys()):
        message = f"{name} stores {unknown[0]}, which is no tensor of the model that transformers makes of it"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)


def _tensors(model: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 - of transformers
    """Return the model's tensors by the names under which they are stored; tied ones once."""
    tied = getattr(model, "all_tied_weights_keys", {})
    found = model.state_dict()
    stored = {
        key: tensor.contiguous()
        for key, tensor in found.items()
        if key not in tied or tensor.data_ptr() != found[tied[key]].data_ptr()
    }
    for key, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            message = f"{key} has numbers that are not finite"
            raise TrainingStopped(message, reason="NOT_FINITE")
    return stored


def _copy_others(folder: Path, made: Path, *, bits: int) -> None:
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
        _rewrite_config(made, lambda config: {**config, QUANTIZATION: dict(INT8)})


def _rewrite_config(made: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    config = change(json.loads((made / CONFIG).read_text(encoding="utf-8")))
    (made / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
