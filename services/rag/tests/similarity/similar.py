"""Finding texts by similarity, on a ledger and vectors in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.rag.tests.fake_stores import InMemoryVectors
from services.rag.tests.fakes import ADA, Models
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable
from tidemill_rag.similarity.domain import SimilarText
from tidemill_rag.similarity.ports import SimilarTexts
from tidemill_rag.similarity.similar_texts import (
    Compared,
    EraseSimilarTexts,
    FindSimilarTexts,
    PutSimilarText,
    RemoveExpiredTexts,
    RemoveSimilarTexts,
)
from tidemill_rag.vectors.ports import VectorStore
from tidemill_testkit.clocks import FixedClock

HOUR = timedelta(hours=1)


class InMemorySimilarTexts:
    """Implements `ports.SimilarTexts`."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], SimilarText] = {}
        self.dimensions: set[tuple[str, int]] = set()
        self.down = False

    async def put(self, project: str, text: SimilarText) -> None:
        if self.down:
            message = "the store is down"
            raise DependencyUnavailable(message, dependency="mongodb")
        self.kept[project, text.id] = text

    async def current(self, project: str, ids: Sequence[str], *, place: str, now: datetime) -> set[str]:
        mine = await self.get(project, ids)
        return {each.id for each in mine if each.place == place and each.expire_time > now}

    async def get(self, project: str, ids: Sequence[str]) -> list[SimilarText]:
        return [text for each in ids if (text := self.kept.get((project, each)))]

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> list[SimilarText]:
        return [each for each in await self.first(project, limit=10**6) if each.end_user == end_user][:limit]

    async def expired(self, before: datetime, *, limit: int) -> list[tuple[str, SimilarText]]:
        found = [(project, each) for (project, _), each in self.kept.items() if each.expire_time <= before]
        return found[:limit]

    async def first(self, project: str, *, limit: int) -> list[SimilarText]:
        mine = [each for (of, _), each in self.kept.items() if of == project]
        return sorted(mine, key=lambda each: each.expire_time)[:limit]

    async def count(self, project: str, *, limit: int) -> int:
        return len(await self.first(project, limit=limit))

    async def remove(self, project: str, ids: Sequence[str]) -> None:
        for each in ids:
            self.kept.pop((project, each), None)

    async def add_index(self, project: str, dimensions: int) -> None:
        self.dimensions.add((project, dimensions))

    async def indexes(self, project: str) -> list[int]:
        return [dimensions for of, dimensions in self.dimensions if of == project]


@dataclass(kw_only=True)
class Similar:
    """The use cases."""

    texts: SimilarTexts = field(default_factory=InMemorySimilarTexts)
    vectors: VectorStore = field(default_factory=InMemoryVectors)
    models: Models = field(default_factory=Models)
    clock: FixedClock = field(default_factory=FixedClock)
    max_texts: int = 1000

    def __post_init__(self) -> None:
        self.finds = FindSimilarTexts(
            texts=self.texts, vectors=self.vectors, models=self.models, clock=self.clock, max_characters=1000
        )
        self.puts = PutSimilarText(
            texts=self.texts,
            vectors=self.vectors,
            models=self.models,
            clock=self.clock,
            max_characters=1000,
            max_texts=self.max_texts,
            max_age=timedelta(days=30),
        )
        self.removes = RemoveSimilarTexts(texts=self.texts, vectors=self.vectors)
        self.expired = RemoveExpiredTexts(texts=self.texts, vectors=self.vectors, clock=self.clock)
        self.erase = EraseSimilarTexts(texts=self.texts, vectors=self.vectors, put=self.puts)

    async def put(  # noqa: PLR0913 - each test names one
        self,
        text_id: str,
        text: str,
        *,
        caller: Caller = ADA,
        scope: str = "s",
        ttl: timedelta = HOUR,
        end_user: str = "",
    ) -> bool:
        """Keep a text."""
        compared = Compared(model="words", scope=scope, text=text)
        expire_time = self.clock.now() + ttl
        until = await self.puts(caller, compared, text_id=text_id, expire_time=expire_time, end_user=end_user)
        return until is not None

    async def found(
        self, text: str, *, caller: Caller = ADA, scope: str = "s", min_score: float = 0.8, limit: int = 5
    ) -> list[str]:
        """Return the ids that are found, the best first."""
        compared = Compared(model="words", scope=scope, text=text)
        return [each.id for each in await self.finds(caller, compared, min_score=min_score, limit=limit)]
