"""LoRA on a processor, computed once for each adapter of a batch (Hu et al., 2021).

vLLM's own operators for processors copy an adapter's matrices for every token of a batch: sixteen answers of base and
adapter were a tenth as fast as the base alone. They also take the last adapter's matrices for tokens that have no
adapter, so that a base answered as that adapter once all places for adapters were taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from tidemill_vllm import seeds

FEW = 16
"""Up to so many rows are multiplied in float32, where a product of small matrices takes less than in bfloat16."""
MINORITY = 4
"""Rows of an adapter that are fewer than one in so many of a longer batch are gathered, others are blanked."""
BLOCK = 96
"""Up to so many rows of first matrices, the second ones of all slices are one."""


@dataclass(frozen=True, slots=True)
class Product:
    """A second matrix, of one slice or of all of them."""

    start: int
    """Its first column in the output."""
    first: int
    """Its first column of what has gone through the first matrices."""
    b: torch.Tensor

    def add(self, y: torch.Tensor, shrunk: torch.Tensor, scale: float) -> None:
        """Add what it makes to its columns of y."""
        width, rank = self.b.shape
        columns, mine = y[:, self.start : self.start + width], shrunk[:, self.first : self.first + rank]
        if y.dtype == self.b.dtype:
            columns.addmm_(mine, self.b.T, alpha=scale)
        else:
            columns.add_(mine @ self.b.T, alpha=scale)


@dataclass(frozen=True, slots=True)
class Matrices:
    """Those of an adapter in a module, as far as they are not filled up with zeros, in one format."""

    a: torch.Tensor
    """The first ones of all slices, below each other."""
    products: Sequence[Product]
    finite: bool
    """Whether nothing of the second matrices is infinite: zeros stay zeros when multiplied by them."""

    @classmethod
    def of(
        cls, all_a: Sequence[torch.Tensor], all_b: Sequence[torch.Tensor], widths: Sequence[int], *, adapter: int
    ) -> "Matrices":
        """Return what lies at an adapter's place."""
        first, second, start, ranks = [], [], 0, 0
        for stacked_a, stacked_b, width in zip(all_a, all_b, widths, strict=True):
            a, b = _flat(stacked_a[adapter]), _flat(stacked_b[adapter])
            used = a.any(dim=1).nonzero()
            rank = int(used.max()) + 1 if len(used) else 0
            first.append(a[:rank])
            second.append(Product(start, ranks, b[:width, :rank].contiguous()))
            start, ranks = start + width, ranks + rank
        finite = all(bool(each.b.isfinite().all()) for each in second)
        # What is infinite times the zeros of another slice's columns would be no number there.
        joined = (_joined(second),) if finite and 0 < ranks <= BLOCK else second
        return cls(torch.cat(first), joined, finite)

    def in_float32(self) -> "Matrices":
        """Return the same in float32."""
        products = [replace(each, b=each.b.float()) for each in self.products]
        return replace(self, a=self.a.float(), products=products)

    def add(self, y: torch.Tensor, x: torch.Tensor, scale: float, *, blanked: torch.Tensor | None = None) -> None:
        """Add what they make of x to y, but for the rows that are blanked."""
        shrunk = x.to(self.a.dtype) @ self.a.T
        if blanked is not None:
            shrunk.masked_fill_(blanked, 0)  # not by a product: what overflows times 0 is no number
        for product in self.products:
            product.add(y, shrunk, scale)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch that an adapter has."""

    adapter: int
    """Its place."""
    numbers: torch.Tensor | None
    """None where all are its."""
    others: torch.Tensor | None
    """A column that is true for the rows of others, unless its own are gathered."""

    def add(self, y: torch.Tensor, x: torch.Tensor, given: Matrices, scale: float) -> None:
        """Add what the adapter's matrices make of x to y."""
        if not len(given.a):
            return
        if self.numbers is None or (given.finite and self.others is not None):
            given.add(y, x, scale, blanked=self.others)
            return
        mine = y[self.numbers]
        given.add(mine, x[self.numbers], scale)
        y[self.numbers] = mine

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
        self._matrices: dict[tuple[int, int, bool], Matrices] = {}
        """By the address of all first matrices of a module, the adapter's place, and whether in float32."""

    def update_metadata(
        self,
        mapping: Any,  # noqa: ANN401 - vLLM's own
        lora_index_to_id: Sequence[int | None],
        *arguments: Any,  # noqa: ANN401 - vLLM's own
        **named: Any,  # noqa: ANN401 - vLLM's own
    ) -> None:
        """Note which rows belong to which adapter, once a step, and forget the matrices when adapters change places.

        An adapter that is loaded again under its name is the same one: it is named by its folder, and that by the
        digest of its files.
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
            rows.add(y, x, self._given(rows, len(x), lora_a_stacked, lora_b_stacked, output_slices), scale)

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
            rows.add(y, x, self._given(rows, len(x), (lora_a_stacked,), (lora_b_stacked,), y.shape[-1:]), scale)

    def _given(
        self,
        rows: Rows,
        count: int,
        all_a: Sequence[torch.Tensor],
        all_b: Sequence[torch.Tensor],
        widths: Sequence[int],
    ) -> Matrices:
        """Return an adapter's matrices in the format in which so many rows are multiplied."""
        kind = all_a[0].dtype
        in_float32 = kind != torch.float32 and (count <= FEW or kind != torch.bfloat16)
        key = all_a[0].data_ptr(), rows.adapter, in_float32
        if key not in self._matrices:
            made = Matrices.of(all_a, all_b, widths, adapter=rows.adapter)
            self._matrices[key] = made.in_float32() if in_float32 else made
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
            numbers = mine.nonzero().squeeze(1)
            if len(numbers) == len(mine):
                yield Rows(adapter, None, None)
            else:
                are_gathered = len(mine) > FEW and MINORITY * len(numbers) < len(mine)
                yield Rows(adapter, numbers, None if are_gathered else ~mine.unsqueeze(1))


def _joined(products: Sequence[Product]) -> Product:
    """Return one that makes what all of them make."""
    last = products[-1]
    whole = last.b.new_zeros(last.start + len(last.b), last.first + last.b.shape[1])
    for each in products:
        width, rank = each.b.shape
        whole[each.start : each.start + width, each.first : each.first + rank] = each.b
    return Product(0, 0, whole)


def _flat(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.squeeze(0) if matrix.dim() == 3 else matrix  # noqa: PLR2004 - one of one layer
