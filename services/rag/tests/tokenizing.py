"""An embedding model's tokenizer without processes of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers, with_tokenizer
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, Tokenizers, facts_of

R = TypeVar("R")


class InThisProcess:
    """Stands for processes with limits."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        assert project
        return await asyncio.to_thread(work, *arguments)


def tokenizer_here(folder: Path) -> EmbeddingTokenizer:
    """Return the tokenizer of a folder, read by this process."""
    here = BoundedTokenizers(InThisProcess())
    facts = with_tokenizer(folder / "tokenizer.json", facts_of, "")
    both = Tokenizers(reading=here, cutting=here)
    return EmbeddingTokenizer(tokenizers=both, file=folder / "tokenizer.json", name="minilm@1", facts=facts)
