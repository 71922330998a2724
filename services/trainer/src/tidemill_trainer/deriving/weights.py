"""Makes the files of a version of those of another one."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.folders import checked_config, passed_on
from tidemill_trainer.deriving.calibration import NOT_SUPPORTED, calibration_tokens
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.deriving.pruning import drop_layers, prune_by_magnitude, prune_by_wanda, with_layers
from tidemill_trainer.deriving.quantizing import quantized
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.weight_files import (
    copy_others,
    format_of,
    refuse_unknown,
    rewrite_config,
    tensors_to_store,
    write_weights,
)

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tidemill-trainer")


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
        refuse_unknown(model, folder, name=job.weights_name, reason=NOT_SUPPORTED)
        layers = int(model.config.get_text_config().num_hidden_layers) if job.dropped_layers else 0
        pruned = dict(_pruned(model, job))
        kept = [int(each) for each in pruned.pop("kept layers", "").split(",") if each]
        tensors = tensors_to_store(model)
        if job.bits:
            tensors = quantized(model, tensors)
        copy_others(folder, partial, bits=job.bits)
        if kept:
            rewrite_config(partial, lambda config: with_layers(config, kept, of=layers))
        write_weights(tensors, partial, max_file_bytes=job.max_file_bytes)
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
                dtype=format_of(folder, reason=NOT_SUPPORTED),
            )
    except ArtifactRefused as error:
        message = f"{name} cannot be loaded: {error.message}"
        raise TrainingStopped(message, reason=NOT_SUPPORTED) from error


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
