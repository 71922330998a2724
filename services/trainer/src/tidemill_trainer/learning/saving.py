"""Writes what a training made, an adapter or full weights, and reads it back from a checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.vocabulary import with_vocabulary
from tidemill_trainer.registry.domain.reward_model import HEAD
from tidemill_trainer.weight_files import copy_others, format_of, rewrite_config, tensors_to_store, write_weights

NOT_TRAINABLE = "BASE_NOT_TRAINABLE"


def weights_format(job: Job, dtype: torch.dtype) -> torch.dtype:
    """Return the format of weights in memory, where `dtype` is that of the matrix products.

    Weights that are all trained are in float32: in bfloat16, steps smaller than 1/256 of a weight change nothing. Those
    that an adapter is merged into lose nothing of what the base stores.
    """
    if not job.use_peft:
        return torch.float32
    if job.makes_full_weights and format_of(Path(job.base), reason=NOT_TRAINABLE) is not dtype:
        return torch.float32
    return dtype


def read_weights(job: Job, model: Any, checkpoint: Path) -> None:  # noqa: ANN401 - of peft or transformers
    """Give a model the weights of a checkpoint."""
    if job.use_peft:
        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
        return
    for path in sorted(checkpoint.glob("*.safetensors")):
        model.load_state_dict(
            load_file(path), strict=False
        )  # tied ones are stored once, and there may be several files


def refuse_broken_weights(model: Any) -> None:  # noqa: ANN401 - ditto
    """Check that all that was trained is finite.

    Raises:
        TrainingStopped: DIVERGED.

    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            message = f"the weights of {name} are not finite: use a lower learning_rate"
            raise TrainingStopped(message, reason="DIVERGED")


def save(job: Job, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - ditto
    """Write the files of a version and rename them into place, an adapter's or those of full weights."""
    made = Path(job.made)
    partial = made.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(made, ignore_errors=True)
    if job.makes_full_weights:
        _write_full_weights(job, model, tokenizer, partial)
    else:
        _write_adapter(job, model, partial)
    partial.rename(made)


def _write_adapter(job: Job, model: Any, folder: Path) -> None:  # noqa: ANN401 - of peft
    """Write an adapter without local paths in its config."""
    model.save_pretrained(folder)
    config = folder / "adapter_config.json"
    content = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": job.base_name}
    content["target_modules"] = sorted(content["target_modules"])  # PEFT stores a set; sorted for reproducible files
    if job.makes_reward_model:
        content["modules_to_save"] = [HEAD]  # PEFT names what any model might have
    config.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _write_full_weights(job: Job, model: Any, tokenizer: Any, folder: Path) -> None:  # noqa: ANN401 - of transformers
    """Write full weights in the base's numeric format, with its config and tokenizer; an adapter is merged before."""
    base = Path(job.base)
    copy_others(base, folder)
    with torch.no_grad():
        if job.use_peft:
            model = model.merge_and_unload(progressbar=False, safe_merge=True)
            model.tie_weights()
        tensors = _stored(model, format_of(base, reason=NOT_TRAINABLE))
    write_weights(tensors, folder, max_file_bytes=job.max_file_bytes)
    if job.added_tokens:
        tokenizer.save_pretrained(folder)
        rows = int(model.get_input_embeddings().weight.shape[0])
        rewrite_config(folder, lambda config: with_vocabulary(config, rows))


def _stored(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:  # noqa: ANN401 - of transformers
    """Return the tensors to store; a finite weight may be too large for the format of the base."""
    try:
        return tensors_to_store(model, dtype)
    except TrainingStopped as stopped:
        message = f"{stopped.message} as the base stores them ({dtype}): use a lower learning_rate"
        raise TrainingStopped(message, reason="DIVERGED") from stopped
