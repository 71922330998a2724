"""Weights that are set to zero, and layers that are removed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from tidemill_trainer.deriving.calibration import NOT_SUPPORTED, LayerInputs, first_of
from tidemill_trainer.learning.failures import TrainingStopped

UNIFORM = ("llama", "mistral", "qwen2", "qwen3", "phi3", "granite", "olmo2")
"""Types of models whose decoder layers are alike but for lists in their config that have an entry for each."""


def decoder_layers(model: Any, *, name: str) -> tuple[str, nn.ModuleList]:  # noqa: ANN401 - of transformers
    """Return the decoder layers of a model and where they are.

    Raises:
        TrainingStopped: NOT_SUPPORTED, where they are not found.

    """
    count = int(model.config.get_text_config().num_hidden_layers)
    found = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outer = [each for each in found if not any(each[0].startswith(f"{path}.") for path, _ in found)]
    if len(outer) != 1:
        message = f"the decoder layers of {name}, of type {model.config.model_type}, are not found"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)
    return outer[0]


def prune_by_magnitude(model: Any, sparsity: float, *, name: str) -> Mapping[str, str]:  # noqa: ANN401 - of transformers
    """Set the smallest weights of each matrix of the decoder layers to zero; return facts for the card."""
    for layer in decoder_layers(model, name=name)[1]:
        for _, linear in _linear(layer):
            flat = linear.weight.data.view(-1)
            flat[flat.abs().float().topk(int(len(flat) * sparsity), largest=False, sorted=False).indices] = 0
    return _zeros(model, name=name)


def prune_by_wanda(model: Any, rows: Sequence[torch.Tensor], sparsity: float, *, name: str) -> Mapping[str, str]:  # noqa: ANN401 - of transformers
    """Set the weights of each row to zero whose magnitude times the norm of their input is smallest (Wanda).

    Layer by layer: what a layer is given has gone through the pruned ones before it (Sun et al., 2024).
    """
    layers = decoder_layers(model, name=name)[1]
    inputs = LayerInputs(model, list(layers))
    hidden, given = [list(each) for each in zip(*map(inputs.arguments, rows), strict=True)]
    for index, layer in enumerate(layers):
        squares = dict[str, torch.Tensor]()
        linear = dict(_linear(layer))
        handles = [each.register_forward_pre_hook(partial(_add, squares, path)) for path, each in linear.items()]
        try:
            for states, more in zip(hidden, given, strict=True):
                layer(states, **more[index])
        finally:
            for handle in handles:
                handle.remove()
        for path, each in linear.items():
            _prune_rows(each, squares.get(path), sparsity)
        hidden = [first_of(layer(states, **more[index])) for states, more in zip(hidden, given, strict=True)]
    return {**_zeros(model, name=name), "calibration examples": str(len(rows))}


def drop_layers(model: Any, rows: Sequence[torch.Tensor], count: int, *, name: str) -> Mapping[str, str]:  # noqa: ANN401 - of transformers
    """Remove the consecutive layers between whose input and output the angle is smallest; return facts for the card.

    The angle is that of the hidden states of each example's last token (Gromov et al., 2024).

    Raises:
        TrainingStopped: NOT_SUPPORTED, where the model has no layer more, or layers that differ.

    """
    path, layers = decoder_layers(model, name=name)
    _refuse_uneven(model, name=name)
    if count >= len(layers):
        message = f"{name} has {len(layers)} decoder layers: drop 1 to {len(layers) - 1} of them, not {count}"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)
    inputs = LayerInputs(model, list(layers))
    ends = [torch.cat([each[:, -1] for each in inputs.hidden(row)]).float() for row in rows]
    distances = torch.stack([_angles(each, count) for each in ends]).mean(dim=0)
    begin = int(distances.argmin())
    kept = [number for number in range(len(layers)) if not begin <= number < begin + count]
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.ModuleList([layers[number] for number in kept]))
    dropped = f"{begin + 1} to {begin + count}" if count > 1 else str(begin + 1)
    return {
        "dropped layers": f"{dropped} of {len(layers)}",
        "angular distance": f"{float(distances[begin]):.4f}",
        "calibration examples": str(len(rows)),
        "kept layers": ",".join(map(str, kept)),
    }


def with_layers(config: Mapping[str, Any], kept: Sequence[int], *, of: int) -> dict[str, Any]:
    """Return the content of a config.json with these of its layers, counted from 0."""
    changed = {
        name: [value[number] for number in kept]
        for name, value in config.items()
        if "layer" in name and isinstance(value, list) and len(value) == of
    }
    return {**config, **changed, "num_hidden_layers": len(kept)}


def _refuse_uneven(model: Any, *, name: str) -> None:  # noqa: ANN401 - of transformers
    config = model.config
    if config.model_type not in UNIFORM or getattr(config, "use_sliding_window", False):
        message = (
            f"layers of {name}, of type {config.model_type}, may differ; layers are dropped of {', '.join(UNIFORM)} "
            "without use_sliding_window"
        )
        raise TrainingStopped(message, reason=NOT_SUPPORTED)


def _angles(states: torch.Tensor, count: int) -> torch.Tensor:
    """Return for each place the angle, as a share of a half turn, between states so many layers apart."""
    cosines = nn.functional.cosine_similarity(states[:-count], states[count:], dim=-1)
    return torch.arccos(cosines.clamp(-1, 1)) / math.pi


def _add(squares: dict[str, torch.Tensor], path: str, _layer: object, args: tuple[torch.Tensor, ...]) -> None:
    found = args[0].flatten(0, -2).float().square().sum(dim=0)
    squares[path] = squares[path] + found if path in squares else found


def _prune_rows(linear: nn.Linear, squares: torch.Tensor | None, sparsity: float) -> None:
    """Prune a matrix; one that no example went through, of an expert, by the magnitude in its rows."""
    scores = linear.weight.data.abs().float()
    if squares is not None:
        scores *= squares.sqrt()
    smallest = scores.topk(int(scores.shape[1] * sparsity), dim=1, largest=False, sorted=False).indices
    linear.weight.data.scatter_(1, smallest, 0)


def _linear(layer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for path, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            yield path, module


def _zeros(model: Any, *, name: str) -> Mapping[str, str]:  # noqa: ANN401 - of transformers
    """Return the share of zeros; raises TrainingStopped, NOT_SUPPORTED, where there are no linear layers."""
    weights = [each.weight for layer in decoder_layers(model, name=name)[1] for _, each in _linear(layer)]
    if not weights:
        message = f"the decoder layers of {name}, of type {model.config.model_type}, have no linear layers"
        raise TrainingStopped(message, reason=NOT_SUPPORTED)
    zeros = sum(int((each == 0).sum()) for each in weights)
    share = zeros / sum(each.numel() for each in weights)
    return {"zeros": f"{share:.4f} of the weights of the decoder layers' matrices"}
