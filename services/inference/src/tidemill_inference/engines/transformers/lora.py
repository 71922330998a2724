"""A LoRA adapter of this machine's disk (Hu et al., 2021), put into a model's tree by peft.

One with magnitudes (DoRA, Liu et al., 2024) scales each output of a layer by its magnitude over the norm of the adapted
row of weights. Both are fixed here, so that the quotient is computed once; peft computes the norm for every token.

What an adapter may say is listed here: what peft would read beyond that (patterns, whole modules, other layers than
LoRA's own) is refused by name, because it could run long, take memory or mean another model than the one evaluated.
"""

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from tidemill_core.errors import isolated
from tidemill_inference.engines.transformers.building import BUILDING
from tidemill_inference.errors import ModelRefused

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FINGERPRINT = f"peft {peft.__version__}"
MAX_RANK = 512
_PREFIX = "base_model.model."
"""What peft puts before the names of a model that it wraps; here it wraps none."""
_MAGNITUDE = ".lora_magnitude_vector"
_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_TAKEN = frozenset({"r", "lora_alpha", "target_modules", "use_dora", "use_rslora"})
_WITHOUT_EFFECT = frozenset(
    {"base_model_name_or_path", "inference_mode", "lora_dropout", "peft_type", "peft_version", "revision", "task_type"}
)
"""What says something about training, or about where an adapter came from."""


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A checked adapter; blocks while it is read."""

    name: str
    config: LoraConfig
    weights: Mapping[str, torch.Tensor]
    magnitudes: Mapping[str, torch.Tensor]
    """By the name of the layer; of all layers or of none."""

    @classmethod
    def read(cls, folder: Path, *, name: str, base: str) -> "LoraAdapter":
        """Read a folder whose files were verified; `base` is the `model@version` that the registry says it is of.

        Raises:
            ModelRefused: it is no plain LoRA adapter of this base.

        """
        try:
            with isolated():
                said = json.loads((folder / CONFIG).read_bytes())
                weights = load_file(folder / WEIGHTS)
                finite = all(each.isfinite().all() for each in weights.values())
        except FileNotFoundError as error:
            raise ModelRefused(name, why=f"{Path(error.filename or WEIGHTS).name} is missing") from error
        except Exception as error:
            raise ModelRefused(name, why=f"its files cannot be read ({type(error).__name__})") from error
        config = _checked(said, name=name, base=base)
        if not finite:
            raise ModelRefused(name, why=f"{WEIGHTS} contains NaN or infinite values")
        named = {key.removeprefix(_PREFIX): each for key, each in weights.items()}
        magnitudes = {key.removesuffix(_MAGNITUDE): each for key, each in named.items() if key.endswith(_MAGNITUDE)}
        plain = {key: each for key, each in named.items() if not key.endswith(_MAGNITUDE)}
        if bool(said.get("use_dora")) != bool(magnitudes):
            raise ModelRefused(name, why=f"{CONFIG} and {WEIGHTS} differ on whether it has magnitudes (use_dora)")
        return cls(name, config, plain, magnitudes)

    def put_into(self, tree: Any, *, dtype: torch.dtype) -> None:  # noqa: ANN401 - a transformers model
        """Add the adapter's layers to a tree; the tree's own weights stay the tensors that they are.

        Raises:
            ModelRefused: its layers are not the base's.

        """
        importlib.import_module("torch.distributed.tensor")  # 40 MB that peft takes for imported
        weights = {key: each.to(dtype) for key, each in self.weights.items()}
        try:
            with isolated(), BUILDING:
                inject_adapter_in_model(self.config, tree, low_cpu_mem_usage=True)
                read: Any = set_peft_model_state_dict(tree, weights, low_cpu_mem_usage=True)
                self._scale_outputs(tree)
        except Exception as error:
            text = f"its layers are not those of its base ({type(error).__name__})"
            raise ModelRefused(self.name, why=text) from error
        empty = [key for key, each in tree.named_parameters() if each.is_meta]
        if wrong := [*read.unexpected_keys, *empty]:
            raise ModelRefused(self.name, why=f"its layers are not those of its base: {wrong[0]}")
        tree.requires_grad_(requires_grad=False)

    def _scale_outputs(self, tree: Any) -> None:  # noqa: ANN401 - a transformers model
        if not self.magnitudes:
            return
        adapted = {key: each for key, each in tree.named_modules() if isinstance(each, LoraLayer)}
        if self.magnitudes.keys() != adapted.keys():
            raise LookupError
        for key, layer in adapted.items():
            layer.register_forward_hook(_Scaled(layer, self.magnitudes[key]))


class _Scaled:
    """Scales what a layer with an adapter computes, without its bias, by magnitude over norm."""

    def __init__(self, layer: Any, magnitude: torch.Tensor) -> None:  # noqa: ANN401 - of peft
        base, (adapter,) = layer.get_base_layer(), layer.active_adapters
        with torch.no_grad():
            norm: torch.Tensor = (base.weight.float() + layer.get_delta_weight(adapter).float()).norm(dim=1)
            self._scale = magnitude.float() / norm  # in float32: bfloat16 knows nothing between 0.996 and 1.008 but 1
        self._bias: torch.Tensor | None = base.bias

    def __call__(self, _layer: object, _given: object, computed: torch.Tensor) -> torch.Tensor:
        bias = 0.0 if self._bias is None else self._bias.float()
        return ((computed.float() - bias) * self._scale + bias).to(computed.dtype)


def _checked(said: object, *, name: str, base: str) -> LoraConfig:
    if not isinstance(said, dict) or said.get("peft_type") != "LORA":
        raise ModelRefused(name, why=f"{CONFIG} is not of peft_type LORA")
    defaults = vars(LoraConfig())
    for key, value in said.items():
        if key not in _TAKEN | _WITHOUT_EFFECT and value not in (defaults.get(key), None, False, [], {}):
            raise ModelRefused(name, why=f"{CONFIG} sets {key}, which is not served")
    rank, alpha, targets = said.get("r", 8), said.get("lora_alpha", 8), said.get("target_modules")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise ModelRefused(name, why=f"{CONFIG} has r {rank}; use 1 to {MAX_RANK}")
    if type(alpha) not in (int, float):
        raise ModelRefused(name, why=f"{CONFIG} has a lora_alpha that is no number")
    plain = isinstance(targets, list) and all(isinstance(each, str) and _PLAIN.fullmatch(each) for each in targets)
    if not targets or not plain:
        raise ModelRefused(name, why=f"{CONFIG} has target_modules that are no list of plain names")
    of = said.get("base_model_name_or_path")
    if isinstance(of, str) and "@" in of and of != base:
        raise ModelRefused(name, why=f"{CONFIG} is of another base than the registry's, {base}")
    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=targets, use_rslora=bool(said.get("use_rslora")), inference_mode=True
    )
