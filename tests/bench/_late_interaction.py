"""Late interaction with an embedding model's own token vectors (ColBERT, Khattab and Zaharia, 2020), as a reranker.

No package carries a cross-encoder; this stands for one where retrieval is measured (`tests.bench.reranker` makes one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tidemill_core.application import Caller
from tidemill_rag.embedding.batched import micro_batches
from tidemill_rag.embedding.transformers import TransformersEmbedding

NAME = "late-interaction@1"


@dataclass(frozen=True)
class LateInteraction:
    """Implements rag's `Rerankers` and `Reranker`: the mean over the question's tokens of their best cosine."""

    model: TransformersEmbedding

    async def check(self, caller: Caller, reference: str) -> None:
        """Know one name."""
        assert caller.project
        assert reference == NAME

    async def load(self, caller: Caller, reference: str) -> "LateInteraction":
        """Return this."""
        await self.check(caller, reference)
        return self

    async def scores(self, project: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return the scores, 0 to 1."""
        asked, *read = await self._token_vectors(project, [question, *texts])
        return [float((asked[1:-1] @ each.T).amax(1).mean().clamp(0, 1)) for each in read]

    async def _token_vectors(self, project: str, texts: Sequence[str]) -> Sequence[torch.Tensor]:
        network: Any = self.model._network  # noqa: SLF001 - what the service pools
        encoded = await self.model._tokenizer.encode(project, texts, limit=256)  # noqa: SLF001 - ditto
        vectors: dict[int, torch.Tensor] = {}
        for batch in micro_batches(encoded):
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(encoded[each]) for each in batch], batch_first=True)
            with torch.inference_mode():
                hidden = network(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state.float()
            for row, position in enumerate(batch):
                tokens = hidden[row, : len(encoded[position])]
                vectors[position] = torch.nn.functional.normalize(tokens, dim=1)
        return [vectors[position] for position in range(len(texts))]
