"""LoRA on a processor, computed once for each adapter of a batch (Hu et al., 2021).

vLLM's own operators for processors copy an adapter's matrices for every token of a batch: sixteen answers of base and
adapter were a tenth as fast as the base alone. They also take the last adapter's matrices for tokens that have no
adapter, so that a base answered as that adapter once all places for adapters were taken.
"""

from collections.abc import Iterator
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

Rows = slice | torch.Tensor


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc] # of vLLM, which is not installed here
    """Multiplies the rows of each adapter by its matrices; rows without an adapter are left alone."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - vLLM's own
        super().__init__(*arguments, **named)
        self._of_tokens: list[tuple[int, Rows]] = []
        self._of_samples: list[tuple[int, Rows]] = []

    def update_metadata(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - vLLM's own
        """Note which rows belong to which adapter, once a step."""
        super().update_metadata(*arguments, **named)
        self._of_tokens = list(_groups(self.token_lora_indices))
        self._of_samples = list(_groups(self.sampler_indices))

    def add_lora_linear(  # noqa: PLR0913, PLR0917 - vLLM's own
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Add what the adapters make of x to y, slice by slice."""
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for adapter, rows in self._of_tokens:
            mine, start = x[rows], 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                made = _made(mine, a[adapter], b[adapter], scale)
                columns = min(width, made.shape[-1])
                _add(y[:, start : start + columns], rows, made[:, :columns])
                start += width

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        **_: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Add what the adapters make of x, which has gone through their first matrix, to y."""
        for adapter, rows in self._of_tokens:
            b = _flat(lora_b_stacked[adapter])
            _add(y, rows, x[rows].to(b.dtype) @ b.T)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Add what the adapters make of the rows that are sampled from to y."""
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for adapter, rows in self._of_samples:
            made = _made(x[rows], lora_a_stacked[adapter], lora_b_stacked[adapter], scale)
            columns = min(y.shape[-1], made.shape[-1])
            _add(y[:, :columns], rows, made[:, :columns])


def register() -> None:
    """Have vLLM use it on processors; an entry point that vLLM calls in each of its processes."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not while vLLM looks for plugins

    if current_platform.is_cpu():
        name = f"{GroupedLora.__module__}.{GroupedLora.__qualname__}"
        type(current_platform).get_punica_wrapper = classmethod(lambda _: name)


def _groups(indices: torch.Tensor) -> Iterator[tuple[int, Rows]]:
    """Yield each adapter's place with its rows."""
    for adapter in torch.unique(indices).tolist():
        if adapter >= 0:
            mine = indices == adapter
            yield adapter, slice(None) if bool(mine.all()) else mine.nonzero().squeeze(1)


def _made(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    a, b = _flat(a), _flat(b)
    shrunk = x.to(a.dtype) @ a.T
    return (shrunk if scale == 1 else shrunk * scale) @ b.T


def _flat(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.squeeze(0) if matrix.dim() == 3 else matrix  # noqa: PLR2004 - one of one layer


def _add(y: torch.Tensor, rows: Rows, made: torch.Tensor) -> None:
    if isinstance(rows, slice):
        y += made.to(y.dtype)
    else:
        y.index_add_(0, rows, made.to(y.dtype))
