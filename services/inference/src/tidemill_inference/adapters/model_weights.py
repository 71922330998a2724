"""A model's tensors, loaded once, and as many trees of modules over them as there are engines.

A tree is what an engine runs and what an adapter is injected into. Trees share nothing but the weights, which nobody
writes to, so that engines on the same weights know nothing of each other.
"""

import copy
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_inference.domain.errors import ModelRefused


class ModelWeights:
    """The weights and the tokenizer of a folder whose files were verified; blocks while it is made."""

    def __init__(self, folder: Path, *, name: str, dtype: torch.dtype) -> None:
        """Load the folder; code in it is never run."""
        self.name = name
        self.dtype = dtype
        transformers.logging.disable_progress_bar()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="sdpa",
                dtype=dtype,
            )
        except Exception as error:  # each model class of transformers checks its config in its own way
            text = f"transformers {transformers.__version__} cannot load it ({type(error).__name__})"
            raise ModelRefused(name, why=text) from error
        if not self.tokenizer.chat_template or not self.tokenizer.is_fast:
            raise ModelRefused(name, why="it has no chat template or no tokenizer.json")
        self._model.requires_grad_(requires_grad=False)
        self.bytes = weight_bytes(self._model)

    def tree(self) -> Any:  # noqa: ANN401 - a transformers model
        """Return modules of their own over the shared weights; blocks for some milliseconds."""
        shared = {id(each): each for each in self._model.parameters()}
        return copy.deepcopy(self._model, shared)


def weight_bytes(*models: torch.nn.Module) -> int:
    """Return what the weights of models take together, each storage counted once."""
    storages = (each.untyped_storage() for model in models for each in model.parameters())
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
