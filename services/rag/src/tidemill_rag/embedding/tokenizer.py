"""The tokenizer of an embedding model. A project supplies it, so it runs in processes with limits, never in this one.

Chunking whole documents takes long and has processes of its own, so that queries and passages do not wait for it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.store.batching import BatchedByKey
from tidemill_rag.embedding.domain import MIN_KNOWN
from tidemill_rag.indexing.domain.chunking import Chunk, Cut, known_chunks
from tidemill_rag.indexing.domain.content import DocumentContent

Tokens = list[int]
Passages = tuple[Sequence[Chunk], int]
"""Of a document, and how many of it were left out."""
_MAX_CUT_TOGETHER = 8
"""Documents that are cut by one call: as many as are fetched together."""
_MAX_CHARACTERS_TOGETHER = 64 * 1024
"""Of the documents of one call, which have the limits of one; a longer document is cut alone."""


class _TookTooLongTogetherError(Exception):
    """Several documents took more time than there is for one, which says nothing of any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizers:
    """Two process pools: for queries and passages, and for whole documents."""

    reading: BoundedTokenizers
    cutting: BoundedTokenizers
    share: int = 1
    """How many of the processes of each pool one project may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """Properties of a tokenizer; `unknown` is the id of its unknown token."""

    special_tokens: int
    prompt_tokens: int
    unknown: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRule:
    """Truncation: `limit` tokens are kept, including the last `closing` ones."""

    limit: int
    closing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTokenizer:
    """One model's tokenizer; `project` is the owner of the text, which has its share of the processes."""

    tokenizers: Tokenizers
    file: Path
    name: str
    facts: TokenizerFacts
    _together: BatchedByKey[str, tuple[DocumentContent, Cut], Passages] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Have documents that come at the same time cut by one call; where that fails, each by one of its own."""
        together: BatchedByKey[str, tuple[DocumentContent, Cut], Passages] = BatchedByKey(
            self._cut_all,
            max_concurrent=self.tokenizers.share,
            max_batch=_MAX_CUT_TOGETHER,
            spread=True,
            weigh=lambda document: len(document[0].text) / _MAX_CHARACTERS_TOGETHER,
            repeatable=True,
        )
        object.__setattr__(self, "_together", together)

    @classmethod
    async def open(
        cls, tokenizers: Tokenizers, project: str, folder: Path, *, prompt: str, name: str
    ) -> "EmbeddingTokenizer":
        """Return the tokenizer of a verified folder; raises as `BoundedTokenizers.run`."""
        file = folder / "tokenizer.json"
        facts = await tokenizers.reading.run(project, file, facts_of, prompt, name=name)
        return cls(tokenizers=tokenizers, file=file, name=name, facts=facts)

    async def cut(self, project: str, content: DocumentContent, cut: Cut) -> Passages:
        """See `EmbeddingModel.cut`."""
        return await self._together(project, (content, cut))

    async def _cut_all(self, project: str, documents: Sequence[tuple[DocumentContent, Cut]]) -> Sequence[Passages]:
        arguments = (passages_of_all, list(documents), self.facts.unknown)
        try:
            return await self.tokenizers.cutting.run(project, self.file, *arguments, name=self.name)
        except DependencyUnavailable as error:
            if len(documents) > 1 and error.blame is Blame.VARIANT:
                raise _TookTooLongTogetherError from error
            raise

    async def encode(self, project: str, texts: Sequence[str], *, limit: int) -> list[Tokens]:
        """Return token ids with special tokens, truncated at the limit; the closing special token is kept."""
        return await self.tokenizers.reading.run(
            project, self.file, encoded, list(texts), self._kept(limit), name=self.name
        )

    async def encode_question(
        self, project: str, text: str, *, prompt: str, limit: int, min_known: float = MIN_KNOWN
    ) -> Tokens | None:
        """Return a query's token ids; None if the vocabulary covers less than `min_known` of it."""
        arguments = (text, prompt, self._kept(limit), self.facts.unknown, min_known)
        return await self.tokenizers.reading.run(project, self.file, question, *arguments, name=self.name)

    def _kept(self, limit: int) -> "KeyRule":
        return KeyRule(limit=limit, closing=max(0, self.facts.special_tokens - 1))


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens of a question and of a text, with special ones, and which of both each belongs to."""

    ids: Tokens
    types: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTokenizer:
    """The tokenizer of one cross-encoder."""

    tokenizers: Tokenizers
    file: Path
    name: str

    async def encode(self, project: str, question: str, texts: Sequence[str], *, limit: int) -> list[TokenPair]:
        """Return the tokens of each text with the question, which has half of the limit at most."""
        arguments = (question, list(texts), limit)
        return await self.tokenizers.reading.run(project, self.file, pairs, *arguments, name=self.name)


def pairs(tokenizer: Any, question: str, texts: list[str], limit: int) -> list[TokenPair]:  # noqa: ANN401 - an untyped library
    """Return the tokens of each text with the question; what is too long is cut at its end."""
    special = tokenizer.num_special_tokens_to_add(is_pair=True)
    encoded = []
    for text in tokenizer.encode_batch(texts, add_special_tokens=False):
        asked = tokenizer.encode(question, add_special_tokens=False)
        asked.truncate(limit // 2)
        text.truncate(max(0, limit - special - len(asked.ids)))
        both = tokenizer.post_process(asked, text, True)  # noqa: FBT003 - with special tokens; it takes no keyword
        encoded.append(TokenPair(both.ids, both.type_ids))
    return encoded


def facts_of(tokenizer: Any, prompt: str) -> TokenizerFacts:  # noqa: ANN401 - an untyped library
    """Return the properties of a tokenizer; byte-level ones have no unknown token."""
    model = json.loads(tokenizer.to_str())["model"]
    token = model.get("unk_token")
    return TokenizerFacts(
        special_tokens=int(tokenizer.num_special_tokens_to_add(is_pair=False)),
        prompt_tokens=len(spans(tokenizer, prompt)),
        unknown=tokenizer.token_to_id(token) if isinstance(token, str) else model.get("unk_id"),
    )


def spans(tokenizer: Any, text: str) -> Sequence[tuple[int, int]]:  # noqa: ANN401 - ditto
    """Return the spans of the tokens in code points, without special tokens."""
    offsets: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
    return offsets


def known_share(tokenizer: Any, text: str, unknown: int | None) -> float:  # noqa: ANN401 - ditto
    """Return the share of a text's words that the vocabulary covers, 0 to 1."""
    read = tokenizer.encode(text, add_special_tokens=False)
    known = lacking = 0
    for token, (start, end) in zip(read.ids, read.offsets, strict=True):
        if token == unknown:
            lacking += 1
        elif any(character.isalnum() for character in text[start:end]):
            known += 1
    return known / (known + lacking) if known + lacking else float(bool(read.ids))


def passages_of_all(
    tokenizer: Any,  # noqa: ANN401 - ditto
    documents: Sequence[tuple[DocumentContent, Cut]],
    unknown: int | None,
) -> list[tuple[list[Chunk], int]]:
    """Return `passages_of` each document."""
    return [passages_of(tokenizer, content, cut, unknown) for content, cut in documents]


def passages_of(
    tokenizer: Any,  # noqa: ANN401 - ditto
    content: DocumentContent,
    cut: Cut,
    unknown: int | None,
) -> tuple[list[Chunk], int]:
    """Return a document's passages, and the number of passages omitted because the vocabulary does not cover them."""
    return known_chunks(
        content.text,
        media_type=content.media_type,
        title=content.title,
        cut=cut,
        without=content.boilerplate,
        tokenize=lambda piece: spans(tokenizer, piece),
        known_share=lambda piece: known_share(tokenizer, piece, unknown),
    )


def encoded(tokenizer: Any, texts: list[str], kept: KeyRule) -> list[Tokens]:  # noqa: ANN401 - ditto
    """Return token ids with special tokens; truncation keeps the closing ones."""
    ids = [read.ids for read in tokenizer.encode_batch(texts)]
    start = kept.limit - kept.closing
    return [each if len(each) <= kept.limit else each[:start] + each[len(each) - kept.closing :] for each in ids]


def question(  # noqa: PLR0913, PLR0917 - called by position, in another process
    tokenizer: Any,  # noqa: ANN401 - ditto
    text: str,
    prompt: str,
    kept: KeyRule,
    unknown: int | None,
    min_known: float = MIN_KNOWN,
) -> Tokens | None:
    """Return a query's token ids; None if the vocabulary covers less than `min_known` of it."""
    if known_share(tokenizer, text, unknown) < min_known:
        return None
    return encoded(tokenizer, [prompt + text], kept)[0]
