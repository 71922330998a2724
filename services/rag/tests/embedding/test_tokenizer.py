"""Documents are cut together, and fail alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill_core.errors import Blame, DependencyUnavailable, InvalidInput
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
        if "slow" in texts:
            message = "takes more than 1200 s"
            raise DependencyUnavailable(message, dependency="tokenizers", blame=Blame.VARIANT)
        return [([], len(text)) for text in texts]


def cutter(cutting: Cutting, *, share: int = 1) -> EmbeddingTokenizer:
    pool: Any = cutting
    facts = TokenizerFacts(special_tokens=2, prompt_tokens=0, unknown=100)
    both = Tokenizers(reading=pool, cutting=pool, share=share)
    return EmbeddingTokenizer(tokenizers=both, file=Path("tokenizer.json"), name="minilm@1", facts=facts)


async def cut_together(tokenizer: EmbeddingTokenizer, texts: Sequence[str]) -> list[Any]:
    cuts = (tokenizer.cut("acme", DocumentContent(media_type="text/plain", text=text), CUT) for text in texts)
    return await asyncio.gather(*cuts, return_exceptions=True)


async def test_documents_that_come_together_are_cut_by_few_calls_and_one_that_breaks_fails_alone() -> None:
    cutting = Cutting()
    tokenizer = cutter(cutting)
    texts = ["a" * length for length in range(1, 20)]
    texts[12] = "broken"

    outcomes = await cut_together(tokenizer, texts)

    assert [len(call) for call in cutting.calls if len(call) > 1] == [8, 8, 3]
    assert [place for place, each in enumerate(outcomes) if isinstance(each, BaseException)] == [12]
    assert [each[1] for each in outcomes if not isinstance(each, BaseException)] == [*range(1, 13), *range(14, 20)]
    with pytest.raises(InvalidInput):
        await tokenizer.cut("acme", DocumentContent(media_type="text/plain", text="broken"), CUT)


async def test_where_documents_take_too_long_together_each_is_cut_alone() -> None:
    slow, *others = await cut_together(cutter(Cutting()), ["slow", "a", "aa"])

    assert isinstance(slow, DependencyUnavailable)
    assert others == [([], 1), ([], 2)]


async def test_documents_that_come_together_have_all_processes_of_their_project_and_long_ones_calls_of_their_own() -> (
    None
):
    cutting = Cutting()

    await cut_together(cutter(cutting, share=4), ["a"] * 8)
    await cut_together(cutter(cutting), ["a" * 40_000, "b" * 40_000, "c" * 100_000])

    assert [len(call) for call in cutting.calls] == [2, 2, 2, 2, 1, 1, 1]
