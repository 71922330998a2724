"""Similarity search over the current passages of one collection, or of several."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.characters import clean, without_ignorable
from tidemill_core.errors import Violation
from tidemill_core.resources import refuse
from tidemill_rag.collections.domain.search_settings import search_violations
from tidemill_rag.errors import IndexNotReady
from tidemill_rag.search.fusion import fused
from tidemill_rag.search.question import DEFAULT_TOP_K, MAX_COLLECTIONS, MAX_TOP_K, Question
from tidemill_rag.search.search_collection import Ranking, SearchCollection
from tidemill_rag.vectors.ports import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The passages, best first, and the index version of the first collection that was searched, 0 for none."""

    index: int
    passages: Sequence[Match]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Searches each collection by its own settings, and fuses what several find."""

    one: SearchCollection
    max_characters: int

    async def __call__(self, caller: Caller, question: Question) -> Answer:
        """Return at most `top_k` passages. A query is truncated at the model's token limit.

        Of a collection of another project those are found that all in it may read: its readers are not the caller's.
        Of several collections, one whose first index is being built is a warning.

        Raises:
            InvalidInput: the query is empty or too long, or `top_k` or a setting is out of range.
            CollectionNotFound: the caller's project has none with this id.
            IndexNotFound: the requested index version does not exist or is retired.
            IndexNotReady: no collection has listed its documents yet.

        """
        refuse(self._violations(question))
        asked = replace(question, query=clean(question.query), top_k=question.top_k or DEFAULT_TOP_K)
        if not asked.other_collections:
            ranking = await self.one(caller, asked, asked.collection, index=asked.index)
            return Answer(index=ranking.index, passages=ranking.passages, warnings=ranking.warnings)
        return _together(await self._each(caller, asked), asked)

    async def _each(self, caller: Caller, question: Question) -> Sequence[Ranking | IndexNotReady]:
        searches = [
            asyncio.ensure_future(self._ready(caller, question, name, index=0 if number else question.index))
            for number, name in enumerate(question.collections)
        ]
        try:
            return await asyncio.gather(*searches)
        finally:
            for search in searches:
                search.cancel()

    async def _ready(self, caller: Caller, question: Question, name: str, *, index: int) -> Ranking | IndexNotReady:
        try:
            return await self.one(caller, question, name, index=index)
        except IndexNotReady as not_ready:
            return not_ready

    def _violations(self, question: Question) -> Iterator[Violation]:
        if not without_ignorable(question.query).strip():
            yield Violation("query", "is empty")
        if len(question.query) > self.max_characters:
            yield Violation("query", f"has {len(question.query)} characters; the limit is {self.max_characters}")
        if not 0 <= question.top_k <= MAX_TOP_K:
            text = f"is {question.top_k}; use 1 to {MAX_TOP_K}, or 0 for the default, {DEFAULT_TOP_K}"
            yield Violation("top_k", text)
        if question.index < 0:
            yield Violation("index", f"is {question.index}; use the number of an index version, or 0 for the live one")
        names = question.collections
        if len(names) > MAX_COLLECTIONS or len(set(names)) != len(names):
            text = f"makes {len(names)} collections; search up to {MAX_COLLECTIONS}, each once"
            yield Violation("other_collections", text)
        if question.settings:
            yield from search_violations(question.settings, field="settings")


def _together(found: Sequence[Ranking | IndexNotReady], question: Question) -> Answer:
    rankings = [each for each in found if isinstance(each, Ranking)]
    not_ready = [each for each in found if isinstance(each, IndexNotReady)]
    if not rankings:
        raise not_ready[0]
    comparable = len({ranking.measure for ranking in rankings}) == 1
    passages = fused([ranking.passages for ranking in rankings], comparable=comparable)
    warnings = [warning for ranking in rankings for warning in ranking.warnings]
    return Answer(
        index=next((each.index for each in rankings if each.collection == question.collection), 0),
        passages=passages[: question.top_k],
        warnings=(*warnings, *(f"not searched: {each.message}" for each in not_ready)),
    )
