"""Documents are cut together, and fail alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill_core.errors import InvalidInput
from tidemill_rag.embedding.tokenizer import EmbeddingTokenizer, TokenizerFacts, Tokenizers, passages_of_all
from tidemill_rag.indexing.domain.chunking import Chunk, Cut
from tidemill_rag.indexing.domain.content import DocumentContent

CUT = Cut(max_tokens=64, overlap_tokens=0)


class Cutting:
    """Stands for bounded tokenizers: says of a document how long its text is, and breaks on one text."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def run(  # noqa: PLR0913 - of what it stands for
        self,
        project: str,
        file: Path,
        work: object,
        documents: Sequence[tuple[DocumentContent, Cut]],
        unknown: int | None,
        *,
        name: str,
    ) -> list[tuple[list[Chunk], int]]:
        assert (project, file, work, unknown, name) == (
            "acme",
            Path("tokenizer.json"),
            passages_of_all,
            100,
            "minilm@1",
        )
        texts = [content.text for content, _ in documents]
        self.calls.append(texts)
        await asyncio.sleep(0)
        if "broken" in texts:
            message = "the tokenizer fails on this text"
            raise InvalidInput(message)
        return [([], len(text)) for text in texts]


async def test_documents_that_come_together_are_cut_by_few_calls_and_one_that_breaks_fails_alone() -> None:
    cutting: Any = Cutting()
    facts = TokenizerFacts(special_tokens=2, prompt_tokens=0, unknown=100)
    both = Tokenizers(reading=cutting, cutting=cutting)
    tokenizer = EmbeddingTokenizer(tokenizers=both, file=Path("tokenizer.json"), name="minilm@1", facts=facts)
    texts = ["a" * length for length in range(1, 20)]
    texts[12] = "broken"

    cuts = (tokenizer.cut("acme", DocumentContent(media_type="text/plain", text=text), CUT) for text in texts)
    outcomes = await asyncio.gather(*cuts, return_exceptions=True)

    assert [len(call) for call in cutting.calls if len(call) > 1] == [8, 8, 3]
    assert [place for place, each in enumerate(outcomes) if isinstance(each, BaseException)] == [12]
    assert [each[1] for each in outcomes if not isinstance(each, BaseException)] == [*range(1, 13), *range(14, 20)]
    with pytest.raises(InvalidInput):
        await tokenizer.cut("acme", DocumentContent(media_type="text/plain", text="broken"), CUT)
