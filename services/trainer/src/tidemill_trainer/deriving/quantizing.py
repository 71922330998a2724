"""Weights as int8, a scale for each row (the format: tidemill_core.models.int8)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from tidemill_core.models.int8 import LARGEST, SCALE

_WEIGHT = ".weight"


def quantized(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:  # noqa: ANN401 - of transformers
    """Return a model's tensors with those of its linear and embedding layers as int8 and scales, and the others."""
    modules = set(_modules(model))
    made: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        module = name.removesuffix(_WEIGHT)
        if name.endswith(_WEIGHT) and module in modules:
            made[name], made[f"{module}{SCALE}"] = rows_as_int8(tensor)
        else:
            made[name] = tensor
    return made


def rows_as_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a matrix as int8, and the scale of each row in bfloat16.

    The integers are those of the scale as it is stored, so that rounding the scale adds no error of its own.
    """
    exact = weight.float()
    scale = (exact.abs().amax(dim=1) / LARGEST).to(torch.bfloat16)
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale).float().unsqueeze(1)
    return exact.div_(divisor).round_().clamp_(-LARGEST, LARGEST).to(torch.int8), scale


def _modules(model: Any) -> Iterator[str]:  # noqa: ANN401 - of transformers
    """Yield the layers that are quantized: of a tied pair both, by the one whose weights are stored."""
    for name, module in model.named_modules():
        if type(module) in {nn.Linear, nn.Embedding}:
            yield name
