"""Layers whose weights are int8 in memory, and how transformers loads them (the format: tidemill_core.models.int8).

Only weights are quantized: a layer computes with activations as they are. A row of weights is int8 times its scale, so
a product with the integers, times the scales, is the product with the weights; integers to 127 are exact in bfloat16.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from tidemill_core.models.int8 import METHOD, quantized_modules

MAX_PACKED_ROWS = 32
"""Rows of activations up to which torch multiplies with int8 as it is stored; above, a copy is faster."""
_MAX_COPIED_ROWS = 8192
"""Rows of weights that are copied at a time, so that a vocabulary takes no second matrix of its size."""


class Int8Linear(nn.Module):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = _weight(outputs, inputs)
        self.weight_scale = _floats(outputs)
        self.bias = _floats(outputs) if bias else None

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of activations."""
        rows = given.reshape(-1, given.shape[-1])
        if rows.device.type == "cpu" and rows.shape[0] <= MAX_PACKED_ROWS:
            made = torch._weight_int8pack_mm(rows.contiguous(), self.weight, self.weight_scale)  # noqa: SLF001 - torch has no other name for it
        else:
            parts = torch.split(self.weight, _MAX_COPIED_ROWS)
            products = [functional.linear(rows, part.to(rows.dtype)) for part in parts]
            made = (products[0] if len(products) == 1 else torch.cat(products, dim=-1)) * self.weight_scale
        if self.bias is not None:
            made = made + self.bias
        return made.reshape(*given.shape[:-1], self.out_features)


class Int8Embedding(nn.Module):
    """An embedding."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = count, size
        self.weight = _weight(count, size)
        self.weight_scale = _floats(count)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of tokens."""
        scale = functional.embedding(ids, self.weight_scale.unsqueeze(-1))
        return functional.embedding(ids, self.weight).to(scale.dtype) * scale


def quantization_of(tensors: Iterable[str]) -> Mapping[str, object]:
    """Return the `quantization_config` by which transformers loads weights with these tensors as int8."""
    return {"quant_method": METHOD, "quantized": sorted(quantized_modules(tensors))}


@register_quantization_config(METHOD)
class Int8Config(QuantizationConfigMixin):
    """What `quantization_of` says, as transformers has it."""

    def __init__(self, quantized: Iterable[str] = (), **_others: object) -> None:
        self.quant_method = METHOD  # type: ignore[assignment] # transformers lists its own, and takes any
        self.quantized = list(quantized)


@register_quantizer(METHOD)
class Int8Quantizer(HfQuantizer):  # type: ignore[misc] # ditto
    """Puts int8 layers into a model before its weights are loaded."""

    def _process_model_before_weight_loading(self, model: Any, **_kwargs: object) -> None:  # noqa: ANN401 - of transformers
        modules = set(self.quantization_config.quantized)
        tied = model.all_tied_weights_keys
        for target, source in list(tied.items()):
            if source.removesuffix(".weight") in modules and target.endswith(".weight"):
                modules.add(target.removesuffix(".weight"))
                tied[f"{target}_scale"] = f"{source}_scale"
        for name in sorted(modules):
            parent, _, own = name.rpartition(".")
            holder = model.get_submodule(parent)
            setattr(holder, own, _int8(getattr(holder, own)))

    def is_serializable(self) -> bool:
        """False: what is loaded is served, and not written."""
        return False

    @property
    def is_trainable(self) -> bool:
        """False: integers have no gradient."""
        return False


def _int8(layer: nn.Module) -> nn.Module:
    """Return an int8 layer in place of one, without its numbers."""
    with torch.device("meta"):
        match layer:
            case nn.Linear():
                return Int8Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            case nn.Embedding() if type(layer) is nn.Embedding:
                return Int8Embedding(layer.num_embeddings, layer.embedding_dim)
            case _:
                message = f"{type(layer).__name__} has no int8 form"
                raise TypeError(message)


def _weight(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns, dtype=torch.int8), requires_grad=False)


def _floats(rows: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows), requires_grad=False)
