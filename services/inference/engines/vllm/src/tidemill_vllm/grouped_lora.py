"""LoRA on a processor, computed once for each adapter of a batch (Hu et al., 2021).

vLLM's own operators for processors copy an adapter's matrices for every token of a batch: sixteen answers of base and
adapter were a tenth as fast as the base alone. They also take the last adapter's matrices for tokens that have no
adapter, so that a base answered as that adapter once all places for adapters were taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from tidemill_vllm import seeds

FEW = 128
"""Up to so many rows all are multiplied, and those of others blanked, which takes less than to gather some."""


@dataclass(frozen=True, slots=True)
class Matrices:
    """Those of an adapter in a module, as far as they are not filled up with zeros, in float32.

    A product of two small matrices takes a processor longer in bfloat16: it is prepared anew each time.
    """

    a: torch.Tensor
    """The first ones of all slices, below each other."""
    b: Sequence[tuple[int, torch.Tensor]]
    """Of each slice its first column in the output, and its second matrix."""
    finite: bool
    """Whether nothing of the second matrices is infinite: zeros stay zeros when multiplied by them."""

    @classmethod
    def of(
        cls, all_a: Sequence[torch.Tensor], all_b: Sequence[torch.Tensor], widths: Sequence[int], *, adapter: int
    ) -> "Matrices":
        """Return what lies at an adapter's place."""
        first, second, start = [], [], 0
        for stacked_a, stacked_b, width in zip(all_a, all_b, widths, strict=True):
            a, b = _flat(stacked_a[adapter]), _flat(stacked_b[adapter])
            used = a.any(dim=1).nonzero()
            rank = int(used.max()) + 1 if len(used) else 0
            first.append(a[:rank].float())
            second.append((start, b[:width, :rank].float()))
            start += width
        return cls(torch.cat(first), second, finite=all(bool(b.isfinite().all()) for _, b in second))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch that an adapter has."""

    adapter: int
    """Its place."""
    numbers: torch.Tensor | None
    """None where all are its."""
    others: torch.Tensor | None
    """A column that is true for the rows of others, where these are few."""

    def add(self, y: torch.Tensor, x: torch.Tensor, given: Matrices, scale: float) -> None:
        """Add what the adapter's matrices make of x to y."""
        if not len(given.a):
            return
        blanked = self.others if given.finite else None
        gathered = self.numbers if blanked is None else None
        shrunk = (x if gathered is None else x[gathered]).float() @ given.a.T
        if blanked is not None:
            shrunk.masked_fill_(blanked, 0)  # not by a product: what overflows times 0 is no number
        done = 0
        for start, b in given.b:
            width, rank = b.shape
            made, columns = shrunk[:, done : done + rank] @ b.T, y[:, start : start + width]
            done += rank
            if gathered is None:
                columns.add_(made, alpha=scale)
            else:
                columns.index_add_(0, gathered, made.to(y.dtype), alpha=scale)

    def expand(self, y: torch.Tensor, shrunk: torch.Tensor, b: torch.Tensor) -> None:
        """Add what the second matrix makes of what has gone through the first one to y."""
        if self.numbers is None:
            y.add_(shrunk.to(b.dtype) @ b.T)
        else:
            y.index_add_(0, self.numbers, (shrunk[self.numbers].to(b.dtype) @ b.T).to(y.dtype))


class GroupedLora(PunicaWrapperCPU):  # type: ignore[misc] # of vLLM, which is not installed here
    """Multiplies the rows of each adapter by its matrices; rows without an adapter are left alone."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - vLLM's own
        super().__init__(*arguments, **named)
        self._of_tokens: list[Rows] = []
        self._of_samples: list[Rows] = []
        self._places: tuple[int | None, ...] = ()
        self._matrices: dict[tuple[int, int], Matrices] = {}
        """By the address of all first matrices of a module, and the adapter's place."""

    def update_metadata(
        self,
        mapping: Any,  # noqa: ANN401 - vLLM's own
        lora_index_to_id: Sequence[int | None],
        *arguments: Any,  # noqa: ANN401 - vLLM's own
        **named: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Note which rows belong to which adapter, once a step, and forget the matrices when adapters change places.

        An adapter that is loaded again under its name is the same one: names have the digest of the files.
        """
        super().update_metadata(mapping, lora_index_to_id, *arguments, **named)
        if (places := tuple(lora_index_to_id)) != self._places:
            self._places, self._matrices = places, {}
        self._of_tokens = list(_rows(self.token_lora_indices))
        self._of_samples = list(_rows(self.sampler_indices))

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
        for rows in self._of_tokens:
            rows.add(y, x, self._given(rows, lora_a_stacked, lora_b_stacked, output_slices), scale)

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        **_: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Add what the adapters make of x, which has gone through their first matrix, to y."""
        for rows in self._of_tokens:
            rows.expand(y, x, _flat(lora_b_stacked[rows.adapter]))

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
        for rows in self._of_samples:
            rows.add(y, x, self._given(rows, (lora_a_stacked,), (lora_b_stacked,), y.shape[-1:]), scale)

    def _given(
        self, rows: Rows, all_a: Sequence[torch.Tensor], all_b: Sequence[torch.Tensor], widths: Sequence[int]
    ) -> Matrices:
        key = all_a[0].data_ptr(), rows.adapter
        if key not in self._matrices:
            self._matrices[key] = Matrices.of(all_a, all_b, widths, adapter=rows.adapter)
        return self._matrices[key]


def register() -> None:
    """Have vLLM use it on processors, and draw by seeds there; an entry point that each process of vLLM's calls."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - not while vLLM looks for plugins

    if current_platform.is_cpu():
        seeds.register()
        name = f"{GroupedLora.__module__}.{GroupedLora.__qualname__}"
        type(current_platform).get_punica_wrapper = classmethod(lambda _: name)


def _rows(indices: torch.Tensor) -> Iterator[Rows]:
    """Yield each adapter's rows."""
    for adapter in torch.unique(indices).tolist():
        if adapter >= 0:
            mine = indices == adapter
            if bool(mine.all()):
                yield Rows(adapter, None, None)
            else:
                others = ~mine.unsqueeze(1) if len(mine) <= FEW else None
                yield Rows(adapter, mine.nonzero().squeeze(1), others)


def _flat(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.squeeze(0) if matrix.dim() == 3 else matrix  # noqa: PLR2004 - one of one layer
