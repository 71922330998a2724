"""Attention for continuous batching on a CPU: each request of a batch attends to its own keys only.

transformers packs all requests of a step into one row, and its SDPA path lets every query look at every request's keys
under a mask, which costs the product of both. Here the row is taken apart again at the requests' bounds, which
transformers passes as it does for flash attention (`cu_seq_lens_q`, `cu_seq_lens_k`).

Requests that add one token are computed together, padded with keys of their own: one call instead of one for each.
Every call is a point where threads wait for each other, which is what costs time where others use the processors.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "tidemill_rowwise"
_MAX_PADDED = 1.5
"""How much of the cache requests of one call read, in relation to what they need."""


@dataclass(frozen=True, slots=True)
class _Span:
    """One request: where its queries and its keys are."""

    q_start: int
    q_end: int
    k_start: int
    k_end: int


@dataclass(frozen=True, slots=True)
class _Decoding:
    """Requests of one query each: the queries, where the cache has their keys, and the mask of what pads these."""

    queries: torch.Tensor
    read_index: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers of a step have in common; `read_index` is that of the prompts' keys."""

    made_for: torch.Tensor
    prompts: Sequence[_Span]
    decoding: Sequence[_Decoding]
    read_index: torch.Tensor


_steps = threading.local()
"""The step that this thread computes."""


def rowwise_attention(  # noqa: PLR0913, PLR0917 - the signature of transformers' AttentionInterface
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - ditto; none is built for this implementation
    scaling: float | None = None,
    cache: Any = None,  # noqa: ANN401 - transformers' PagedAttentionCache
    **kwargs: Any,  # noqa: ANN401 - ditto
) -> tuple[torch.Tensor, None]:
    """Return the attention output, shaped (1, tokens, heads, head size)."""
    allocator = cache.layer_to_allocator[module.layer_idx]
    step = _step(allocator, query.dtype, kwargs)
    keys, values = allocator.update(
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        module.layer_idx,
        step.read_index,
        kwargs["write_index"][allocator.index],
    )
    keys, values = (each.transpose(0, 1).unsqueeze(0) for each in (keys, values))
    _, heads, tokens, size = query.shape
    output = query.new_empty(1, tokens, heads, size)
    for span in step.prompts:
        queries = slice(span.q_start, span.q_end)
        read = slice(span.k_start, span.k_end)
        attended = _attended(query[:, :, queries], keys[:, :, read], values[:, :, read], scaling)
        output[:, queries] = attended.transpose(1, 2)
    for group in step.decoding:
        cached = [pages.flatten(0, 1) for pages in allocator.get_cache_for_block_table(module.layer_idx)]
        output[0, group.queries] = _decoded(query[0].transpose(0, 1), cached, group, scaling)
    return output, None


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Attend causally, the last query being the last key."""
    queries, keys = query.shape[2], key.shape[2]
    mask = None
    if queries != keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    )


def _decoded(
    query: torch.Tensor, cached: Sequence[torch.Tensor], group: _Decoding, scaling: float | None
) -> torch.Tensor:
    """Attend with one query of each request, shaped (tokens, heads, head size), to all of its keys."""
    rows, (_, kv_heads, size) = len(group.queries), cached[0].shape
    key, value = (
        each.index_select(0, group.read_index).view(rows, -1, kv_heads, size).transpose(1, 2) for each in cached
    )
    # Heads that share a key become queries of it, and no key is copied for them.
    grouped = query.index_select(0, group.queries).view(rows, kv_heads, -1, size)
    attended = scaled_dot_product_attention(grouped, key, value, attn_mask=group.mask, scale=scaling)
    return attended.reshape(rows, -1, size)


def _step(allocator: Any, dtype: torch.dtype, given: dict[str, Any]) -> _Step:  # noqa: ANN401 - transformers' allocator
    """Return what the first layer of this step has made, or make it; transformers makes the bounds for each step."""
    step: _Step | None = getattr(_steps, "step", None)
    if step is None or step.made_for is not given["cu_seq_lens_q"]:
        step = _steps.step = _prepared(allocator, dtype, given)
    return step


def _prepared(allocator: Any, dtype: torch.dtype, given: dict[str, Any]) -> _Step:  # noqa: ANN401 - ditto
    bounds = given["cu_seq_lens_q"]
    k_bounds = given["cu_seq_lens_k"][allocator.layer_type]
    spans = [_Span(*q, *k) for q, k in zip(pairwise(bounds.tolist()), pairwise(k_bounds.tolist()), strict=True)]
    read_index = given["read_index"][allocator.index]
    if read_index.numel() == 0:  # whole prompts, whose keys are not read back from the cache
        return _Step(bounds, spans, (), read_index)
    single = [span for span in spans if span.q_end - span.q_start == 1]
    prompts, slices, start = [], [read_index[:0]], 0
    for span in spans:
        if span.q_end - span.q_start > 1:
            prompts.append(_Span(span.q_start, span.q_end, start, start + _keys(span)))
            slices.append(read_index[span.k_start : span.k_end])
            start += _keys(span)
    decoding = [_group(each, read_index, dtype) for each in _alike(single)]
    return _Step(bounds, prompts, decoding, torch.cat(slices))


def _alike(spans: Sequence[_Span]) -> Sequence[Sequence[_Span]]:
    """Return the requests in groups with about the same number of keys."""
    groups: list[list[_Span]] = []
    needed = 0
    for span in sorted(spans, key=_keys):
        if not groups or _keys(span) * (len(groups[-1]) + 1) > _MAX_PADDED * (needed + _keys(span)):
            groups.append([])
            needed = 0
        groups[-1].append(span)
        needed += _keys(span)
    return groups


def _group(spans: Sequence[_Span], read_index: torch.Tensor, dtype: torch.dtype) -> _Decoding:
    """Return requests padded with their own last key: what others left in the cache may be no finite number."""
    width = max(map(_keys, spans))
    index = torch.empty(len(spans), width, dtype=read_index.dtype)
    mask = torch.zeros(len(spans), 1, 1, width, dtype=dtype)
    for row, span in enumerate(spans):
        index[row, : _keys(span)] = read_index[span.k_start : span.k_end]
        index[row, _keys(span) :] = read_index[span.k_end - 1]
        mask[row, ..., _keys(span) :] = -torch.inf
    return _Decoding(torch.tensor([span.q_start for span in spans]), index.flatten(), mask)


def _keys(span: _Span) -> int:
    return span.k_end - span.k_start


AttentionInterface.register(NAME, rowwise_attention)
