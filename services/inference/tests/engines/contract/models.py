"""The models that the contract of engines is kept with: tiny, so that any engine runs them in float32 in no time."""

from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from services.inference.tests.engines.contract.bare_model import BareModel
from services.inference.tests.engines.contract.engine_contract import CONTEXT
from services.inference.tests.tiny_model import TOOL_TEMPLATE, write_tiny_adapter, write_tiny_model

_SEED = 28
"""Whose greedy answer to the contract's question is of plain bytes, and has no end for 500 tokens."""


def write_models(folder: Path, *, head_size: int = 0, ends: bool = True) -> tuple[BareModel, BareModel]:
    """Write a model that is shown tools and can end its answers, and an adapter of it.

    A `head_size` makes its heads that wide, for engines that take no others; it computes the same.
    """
    base = write_tiny_model(folder / "base", seed=_SEED, context=CONTEXT, ends=ends, template=TOOL_TEMPLATE)
    if head_size:
        _widen(base, head_size)
    return BareModel(base), BareModel(base, write_tiny_adapter(folder / "adapter", base))


def _widen(folder: Path, size: int) -> None:
    """Write the model anew with wider heads, whose further numbers are zero.

    Rotary positions turn number i with number i + size / 2, by a frequency that falls with i / size: each pair goes
    where the wider head has its frequency. Scores are divided by the root of the size, which queries make up for.
    """
    narrow = LlamaForCausalLM.from_pretrained(folder)
    config, was = narrow.config, int(narrow.config.head_dim or 0)
    config.head_dim = size
    wide = LlamaForCausalLM(config)
    half, step = was // 2, size // was
    places = torch.tensor([*(step * i for i in range(half)), *(size // 2 + step * i for i in range(half))])
    state = narrow.state_dict()
    for name, numbers in state.items():
        part = name.split(".")[-2]
        if part in {"q_proj", "k_proj", "v_proj"}:
            heads = numbers.unflatten(0, (-1, was)) * ((size / was) ** 0.5 if part == "q_proj" else 1)
            made = torch.zeros(heads.shape[0], size, heads.shape[2])
            made[:, places] = heads
            state[name] = made.flatten(0, 1)
        elif part == "o_proj":
            columns = numbers.unflatten(1, (-1, was))
            made = torch.zeros(columns.shape[0], columns.shape[1], size)
            made[:, :, places] = columns
            state[name] = made.flatten(1, 2)
    wide.load_state_dict(state)
    wide.generation_config = narrow.generation_config
    wide.save_pretrained(folder)
