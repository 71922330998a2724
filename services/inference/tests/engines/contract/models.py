"""The models that the contract of engines is kept with: tiny, so that any engine runs them in float32 in no time."""

from pathlib import Path

from services.inference.tests.engines.contract.bare_model import BareModel
from services.inference.tests.engines.contract.engine_contract import CONTEXT
from services.inference.tests.tiny_model import TOOL_TEMPLATE, write_tiny_adapter, write_tiny_model

_SEED = 28
"""Whose greedy answer to the contract's question is of plain bytes, and has no end for 500 tokens."""


def write_models(folder: Path, *, head_size: int = 8) -> tuple[BareModel, BareModel]:
    """Write a model that is shown tools and can end its answers, and an adapter of it."""
    base = write_tiny_model(
        folder / "base", seed=_SEED, context=CONTEXT, ends=True, template=TOOL_TEMPLATE, head_size=head_size
    )
    return BareModel(base), BareModel(base, write_tiny_adapter(folder / "adapter", base))
