"""A model's tensors, loaded once, and a tree of modules over them for each engine.

An engine runs its tree, into which an adapter may be injected. Trees share only the weights, which are read-only, so
that engines on the same weights are independent of each other.
"""

import copy
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_core.errors import isolated
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_inference.engines.transformers.building import BUILDING
from tidemill_inference.engines.transformers.guides import Vocabulary
from tidemill_inference.engines.transformers.int8 import quantization_of
from tidemill_inference.errors import ModelRefused
from tidemill_kit.models.folders import checked_config, is_quantized, loadable_config, passed_on, tensors_of
from tidemill_kit.models.freed_memory import return_freed_memory
from tidemill_kit.models.numeric_format import NumericFormat, log_computing


class ModelWeights:
    """The weights and the tokenizer of a folder whose files were verified; blocks while it is made."""

    def __init__(self, folder: Path, *, name: str, dtype: torch.dtype) -> None:
        """Load the folder; code in it is never run."""
        self.name = name
        self.dtype = dtype
        transformers.logging.disable_progress_bar()
        try:
            with isolated(), BUILDING, passed_on(folder) as given:
                self.tokenizer: Any = AutoTokenizer.from_pretrained(
                    given, local_files_only=True, trust_remote_code=False
                )
                config = checked_config(folder, AutoModelForCausalLM.from_config, quantized=True)
                self.quantized = is_quantized(folder)
                if self.quantized:
                    config.quantization_config = quantization_of(tensors_of(folder))
                self._model: Any = AutoModelForCausalLM.from_pretrained(
                    given,
                    config=config,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    attn_implementation="sdpa",
                    dtype=dtype,
                )
        except ArtifactRefused as error:
            raise ModelRefused(name, why=error.message) from error
        except Exception as error:  # each model class of transformers checks its config in its own way
            raise ModelRefused(name, why=_unloadable(error)) from error
        check_tokenizer(self.tokenizer, name=name)
        self._vocabulary: Vocabulary | None = None
        self._model.requires_grad_(requires_grad=False)
        self.bytes = weight_bytes(self._model)
        log_computing(str(dtype).removeprefix("torch."), torch.backends.cpu.get_cpu_capability())
        return_freed_memory()

    def vocabulary(self, ends: Collection[int]) -> Vocabulary:
        """Return the tokens as bytes, which all engines over these weights share."""
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.tokenizer, ends=ends)
        return self._vocabulary

    async def aclose(self) -> None:
        """Do nothing: the memory is free when no engine has it any more."""

    def tree(self) -> Any:  # noqa: ANN401 - a transformers model
        """Return modules of their own over the shared weights; blocks for some milliseconds."""
        shared = {id(each): each for each in self._model.parameters()}
        return copy.deepcopy(self._model, shared)


def check_tokenizer(tokenizer: Any, *, name: str) -> None:  # noqa: ANN401 - of transformers
    """Refuse a model that cannot be asked.

    Raises:
        ModelRefused: it has no chat template, or its tokenizer is none of the tokenizers library.

    """
    if not tokenizer.chat_template or not tokenizer.is_fast:
        raise ModelRefused(name, why="it has no chat template or no tokenizer.json")


def dtype_of(numeric_format: NumericFormat) -> torch.dtype:
    """Return torch's name of a format."""
    dtype: torch.dtype = getattr(torch, numeric_format)
    return dtype


def token_bytes(folder: Path, *, name: str, dtype: torch.dtype) -> int:
    """Return what one token takes of a cache of keys and values, before the weights are loaded.

    Raises:
        ModelRefused: the folder's config does not have the sizes.

    """
    try:
        with isolated():
            config = loadable_config(folder, tensors=len(tensors_of(folder))).get_text_config()
            heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)
    except ArtifactRefused as error:
        raise ModelRefused(name, why=error.message) from error
    except Exception as error:  # each config class of transformers checks in its own way
        raise ModelRefused(name, why=_unloadable(error)) from error


def stored_bytes(folder: Path, *, name: str, dtype: torch.dtype) -> int:
    """Return what a folder's weights take in a numeric format, by the headers of its files; int8 stays int8.

    Raises:
        ModelRefused: a header is not readable.

    """
    try:
        with isolated():
            stored = 0
            for path in folder.rglob("*.safetensors"):
                with safe_open(path, framework="pt") as opened:
                    for each in map(opened.get_slice, opened.keys()):
                        stored += math.prod(each.get_shape()) * (1 if each.get_dtype() == "I8" else dtype.itemsize)
    except Exception as error:  # safetensors raises what its Rust part makes of a file
        raise ModelRefused(name, why=_unloadable(error)) from error
    return stored


def _unloadable(error: Exception) -> str:
    return f"transformers {transformers.__version__} cannot load it ({type(error).__name__})"


def weight_bytes(*models: torch.nn.Module) -> int:
    """Return what the weights of models take together, each storage counted once."""
    storages = (each.untyped_storage() for model in models for each in model.parameters())
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
