"""Attention for continuous batching on a CPU: each request of a batch attends to its own keys only.

transformers packs all requests of a step into one row, and its SDPA path lets every query look at every request's keys
under a mask, which costs the product of both. Here the row is taken apart again at the requests' bounds, which
transformers passes as it does for flash attention (`cu_seq_lens_q`, `cu_seq_lens_k`).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "tidemill_rowwise"


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
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
    output = torch.empty_like(query)
    bounds = zip(_spans(kwargs["cu_seq_lens_q"]), _spans(kwargs["cu_seq_lens_k"]), strict=True)
    for (q_start, q_end), (k_start, k_end) in bounds:
        output[:, :, q_start:q_end] = _attended(
            query[:, :, q_start:q_end], key[:, :, k_start:k_end], value[:, :, k_start:k_end], scaling
        )
    return output.transpose(1, 2).contiguous(), None


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Attend causally, the last query being the last key."""
    queries, keys = query.shape[2], key.shape[2]
    if queries == 1:  # decoding: the heads that share a key become queries of it, and no key is copied
        grouped = query.reshape(1, key.shape[1], -1, query.shape[3])
        return scaled_dot_product_attention(grouped, key, value, scale=scaling).reshape(query.shape)
    mask = None
    if queries != keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    )


def _spans(bounds: torch.Tensor) -> Sequence[tuple[int, int]]:
    return list(pairwise(bounds.tolist()))


AttentionInterface.register(NAME, rowwise_attention)
