"""Loads the model that a training learns from."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PretrainedConfig

from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import ModelFiles
from tidemill_trainer.learning.loading import load_config, load_model


def teacher_config(files: ModelFiles, config: PretrainedConfig, *, name: str) -> PretrainedConfig:
    """Return the config of a teacher of a base with `config`.

    Raises:
        TrainingStopped: TEACHER_REFUSED, where it has another vocabulary; BASE_NOT_TRAINABLE, where it is not loadable.

    """
    found = load_config(Path(files.base), name=name)
    there, needed = (int(each.get_text_config().vocab_size) for each in (found, config))
    if there != needed:
        message = (
            f"the teacher {name} has a vocabulary of {there} tokens and the base one of {needed}: they have to be of "
            "one size, use a teacher or a base of that size"
        )
        raise TrainingStopped(message, reason="TEACHER_REFUSED")
    return found


def load_teacher(files: ModelFiles, dtype: torch.dtype, *, name: str) -> Any:  # noqa: ANN401 - of transformers
    """Return a teacher, which is not trained; an adapter stays beside its base, whose files may then be mapped."""
    base = Path(files.base)
    model = load_model(base, load_config(base, name=name), dtype, name=name, scores=False)
    if files.adapter:
        model = PeftModel.from_pretrained(model, files.adapter, is_trainable=False)
    return model.requires_grad_(requires_grad=False)
