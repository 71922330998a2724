"""Find ids by texts that are alike, keep them for a while, and remove them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, groupby

from tidemill_core.application import Caller, Clock
from tidemill_core.errors import DependencyUnavailable, InvalidInput, Violation
from tidemill_core.resources import refuse
from tidemill_rag.embedding.ports import EmbeddingModels
from tidemill_rag.similarity.domain import (
    MAX_MATCHES,
    MAX_NAME,
    MAX_REMOVED,
    SimilarMatch,
    SimilarText,
    index_of,
    place_of,
    point_of,
)
from tidemill_rag.similarity.ports import SimilarTexts
from tidemill_rag.vectors.ports import Payload, Point, Query, VectorStore, Where

_SEQ = 1
_SPARE = 50
"""So many expired ones, which the sweep has not removed yet, hide none that is current."""
_BATCH = 200
_PART = 100
"""The share of a project's texts after which they are counted again, and that is removed where there are too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A text, the model that embeds it, and what it is compared within."""

    model: str
    scope: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindSimilarTexts:
    """Finds what is kept and has not expired; what only the vector store has counts for nothing."""

    texts: SimilarTexts
    vectors: VectorStore
    models: EmbeddingModels
    clock: Clock
    max_characters: int

    async def __call__(
        self, caller: Caller, compared: Compared, *, min_score: float, limit: int = 1
    ) -> Sequence[SimilarMatch]:
        """Return the most similar ones, the best first; none for a text that the model cannot embed whole.

        Raises:
            InvalidInput: names the field that breaks its limit.
            NotFound: the project has no such model.
            EmbeddingUnusable: it is no embedding model that rag can load.
            DependencyUnavailable: a store or the trainer does not answer.

        """
        refuse(chain(_violations(compared, self.max_characters), _asked(min_score, limit)))
        reference = (await self.models.resolve(caller, compared.model)).reference
        model = await self.models.load(caller, reference)
        vector = await model.embed_whole_query(caller.project, compared.text)
        if vector is None:
            return ()
        place = place_of(reference, compared.scope)
        index = index_of(caller.project, len(vector))
        query, where = Query(vector=vector), Where(sources=(place,))
        nearest = await self.vectors.search(index, query, limit=(limit or 1) + _SPARE, where=where)
        matches = [each for each in nearest if each.score >= min_score]
        if not matches:
            return ()
        ids = [each.payload.document for each in matches]
        current = await self.texts.current(caller.project, ids, place=place, now=self.clock.now())
        return [
            SimilarMatch(id=each.payload.document, score=min(1.0, each.score))
            for each in matches
            if each.payload.document in current
        ][: limit or 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSimilarText:
    """Keeps a vector. The ledger is written first: a vector without a row would never be removed."""

    texts: SimilarTexts
    vectors: VectorStore
    models: EmbeddingModels
    clock: Clock
    max_characters: int
    max_texts: int
    """Of a project."""
    max_age: timedelta
    _created: set[str] = field(default_factory=set)
    _capacity: dict[str, int] = field(default_factory=dict)

    async def __call__(
        self, caller: Caller, compared: Compared, *, text_id: str, expire_time: datetime, end_user: str = ""
    ) -> datetime | None:
        """Return until when the text is kept; None for one that the model cannot embed whole.

        Raises as `FindSimilarTexts`.
        """
        refuse(chain(_violations(compared, self.max_characters), _name("id", text_id)))
        reference = (await self.models.resolve(caller, compared.model)).reference
        model = await self.models.load(caller, reference)
        vector = await model.embed_whole_query(caller.project, compared.text)
        if vector is None:
            return None
        kept = SimilarText(
            id=text_id,
            place=place_of(reference, compared.scope),
            dimensions=len(vector),
            expire_time=min(expire_time, self.clock.now() + self.max_age),
            end_user=end_user,
        )
        await self._remove_excess(caller.project)
        index = await self._index(caller.project, kept.dimensions)
        await self.texts.put(caller.project, kept)
        try:
            await self.vectors.upsert(index, [_point(caller.project, kept, vector)])
        except DependencyUnavailable:
            self._created.discard(index)  # another process may have dropped it
            raise
        return kept.expire_time

    async def _index(self, project: str, dimensions: int) -> str:
        index = index_of(project, dimensions)
        if index not in self._created:
            await self.texts.add_index(project, dimensions)
            await self.vectors.create(index, dimensions=dimensions)
            self._created.add(index)
        return index

    async def _remove_excess(self, project: str) -> None:
        """Remove texts where a project has too many; replicas that count at the same time allow a part more each."""
        capacity = self._capacity.get(project, 0)
        if capacity <= 0:
            part = max(1, self.max_texts // _PART)
            count = await self.texts.count(project, limit=self.max_texts)
            if count >= self.max_texts:
                first = await self.texts.first(project, limit=part)
                await remove(self.texts, self.vectors, project, first)
                count -= len(first)
            capacity = min(part, self.max_texts - count)
        self._capacity[project] = capacity - 1

    def forget(self, project: str) -> None:
        """Forget a project in this process."""
        self._capacity.pop(project, None)
        begin = f"{project}/"
        for index in [each for each in self._created if each.startswith(begin)]:
            self._created.discard(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSimilarTexts:
    """Removes ids with their vectors."""

    texts: SimilarTexts
    vectors: VectorStore

    async def __call__(self, caller: Caller, ids: Sequence[str]) -> None:
        """Remove those that are there."""
        if not 0 < len(ids) <= MAX_REMOVED:
            raise InvalidInput.of(Violation("ids", f"has {len(ids)}; send 1 to {MAX_REMOVED}"))
        await remove(self.texts, self.vectors, caller.project, await self.texts.get(caller.project, ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveExpiredTexts:
    """A sweep; what has expired is found no longer before."""

    texts: SimilarTexts
    vectors: VectorStore
    clock: Clock

    async def __call__(self) -> int:
        """Return how many were removed."""
        removed = 0
        while some := await self.texts.expired(self.clock.now(), limit=_BATCH):
            for project, mine in groupby(sorted(some, key=_project), key=_project):
                await remove(self.texts, self.vectors, project, [text for _, text in mine])
            removed += len(some)
        return removed


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseSimilarTexts:
    """Erases vectors; those of a person also from the files of the embedded store."""

    texts: SimilarTexts
    vectors: VectorStore
    put: PutSimilarText

    async def of_project(self, project: str) -> int:
        """Drop all indexes of a project; return how many vectors there were. The ledger, which names them, stays."""
        self.put.forget(project)
        erased = 0
        for dimensions in await self.texts.indexes(project):
            index = index_of(project, dimensions)
            erased += await self.vectors.count(index)
            await self.vectors.drop(index)
        return erased

    async def of_end_user(self, project: str, end_user: str) -> int:
        """Remove some texts of a person; return how many: 0 when none is left."""
        texts = await self.texts.of_end_user(project, end_user, limit=_BATCH)
        await _delete(self.vectors, project, texts)
        for dimensions in {each.dimensions for each in texts}:
            index = index_of(project, dimensions)
            for each in texts:
                if each.dimensions == dimensions and await self.vectors.purge(index, each.id):
                    break  # the files were written anew, without any that was deleted
        await self.texts.remove(project, [each.id for each in texts])
        return len(texts)


async def remove(texts: SimilarTexts, vectors: VectorStore, project: str, some: Sequence[SimilarText]) -> None:
    """Remove texts, their vectors first: the ledger names what may still be there."""
    await _delete(vectors, project, some)
    await texts.remove(project, [each.id for each in some])


async def _delete(vectors: VectorStore, project: str, texts: Sequence[SimilarText]) -> None:
    for each in texts:
        await vectors.delete(index_of(project, each.dimensions), each.id, below_seq=_SEQ + 1)


def _point(project: str, text: SimilarText, vector: Sequence[float]) -> Point:
    payload = Payload(document=text.id, seq=_SEQ, version=1, start=0, end=0, text="", source=text.place, key="")
    return Point(id=point_of(project, text.id), vector=vector, payload=payload)


def _project(found: tuple[str, SimilarText]) -> str:
    return found[0]


def _violations(compared: Compared, max_characters: int) -> Iterator[Violation]:
    if not compared.model:
        yield Violation("model", "is required: name an embedding model of the registry")
    yield from _name("scope", compared.scope)
    if not compared.text.strip():
        yield Violation("text", "is empty")
    if len(compared.text) > max_characters:
        yield Violation("text", f"has {len(compared.text)} characters; the limit is {max_characters}")


def _name(field_name: str, value: str) -> Iterator[Violation]:
    if not 0 < len(value) <= MAX_NAME:
        yield Violation(field_name, f"has {len(value)} characters; use 1 to {MAX_NAME}")


def _asked(min_score: float, limit: int) -> Iterator[Violation]:
    if not 0 < min_score <= 1:
        yield Violation("min_score", f"is {min_score:g}; use more than 0 and at most 1")
    if not 0 <= limit <= MAX_MATCHES:
        yield Violation("limit", f"is {limit}; use 1 to {MAX_MATCHES}, or 0 for 1")
