"""Loads verified folders: a tokenizer, a config, and a model with a vocabulary or with a head of one number."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.folders import checked_config, passed_on
from tidemill_trainer.learning.failures import TrainingStopped


def load_tokenizer(base: Path, *, name: str) -> Any:  # noqa: ANN401 - of transformers
    """Return a base's tokenizer.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE.

    """
    try:
        with passed_on(base) as given:
            tokenizer = AutoTokenizer.from_pretrained(given, local_files_only=True, trust_remote_code=False)
    except ArtifactRefused as error:
        message = f"{name} cannot be loaded: {error.message}"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE") from error
    if not tokenizer.chat_template:
        message = f"{name} has no chat template"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE")
    return tokenizer


def load_config(base: Path, *, name: str) -> PretrainedConfig:
    """Return a base's config, checked against its weights.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE.

    """
    try:
        config: PretrainedConfig = checked_config(base, AutoModelForCausalLM.from_config)
    except ArtifactRefused as error:
        message = f"{name} cannot be loaded: {error.message}"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE") from error
    return config


def scoring_config(config: PretrainedConfig, tokenizer: Any, *, base: str) -> PretrainedConfig:  # noqa: ANN401 - of transformers
    """Make the config that of a model with one score for a sequence.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE.

    """
    if type(config) not in AutoModelForSequenceClassification._model_mapping:  # noqa: SLF001 - it has no other way to ask
        message = f"transformers has no model of sequence classification for {config.model_type}, the type of {base}"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE")
    config.num_labels = 1
    text_config: Any = config.get_text_config()
    text_config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return config


def load_model(base: Path, config: PretrainedConfig, dtype: torch.dtype, *, name: str, scores: bool) -> Any:  # noqa: ANN401 - of transformers
    """Return a model with the base's weights; one that scores has a new head, in float32 as LoRA's weights are.

    Raises:
        TrainingStopped: BASE_NOT_TRAINABLE, where it has another head than the one that is registered.

    """
    auto: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    with passed_on(base) as given:
        model = auto.from_pretrained(
            given,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            dtype=dtype,
        )
    if scores:
        if getattr(model, "score", None) is None:
            message = f"the model of sequence classification of {name} has no layer `score`: use a base of another type"
            raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE")
        model.score.float()
    return model
