"""Answering with a cache that also compares questions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from services.inference.tests.caching.cached import CachedHarness
from tidemill_core.application import Caller
from tidemill_core.errors import TidemillError
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.caching.ports import SimilarQuestion
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.caching.similar import CompareQuestions

SEMANTIC = CachePolicy(ttl=timedelta(hours=1), semantic=SemanticCachePolicy(embedding="minilm", threshold=0.5))


@dataclass(frozen=True)
class AtRag:
    """A question at rag."""

    project: str
    scope: str
    text: str
    inference: str
    end_user: str
    expire_time: datetime


@dataclass
class WordOverlap:
    """Implements `ports.SimilarQuestions`: the share of words that two texts have in common."""

    kept: list[AtRag] = field(default_factory=list)
    down: TidemillError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        await self.gate.wait()
        if self.down:
            raise self.down

    async def nearest(
        self, caller: Caller, policy: SemanticCachePolicy, *, scope: str, text: str, limit: int
    ) -> Sequence[SimilarQuestion]:
        await self._called("nearest")
        mine = [each for each in self.kept if (each.project, each.scope) == (caller.project, scope)]
        found = [SimilarQuestion(inference=each.inference, similarity=overlap(each.text, text)) for each in mine]
        alike = [each for each in found if each.similarity >= policy.threshold]
        return sorted(alike, key=lambda each: -each.similarity)[:limit]

    async def put(  # noqa: PLR0913 - as the port
        self,
        caller: Caller,
        policy: SemanticCachePolicy,
        *,
        scope: str,
        text: str,
        inference: str,
        end_user: str,
        expire_time: datetime,
    ) -> None:
        await self._called("put")
        assert policy.embedding
        self.kept.append(AtRag(caller.project, scope, text, inference, end_user, expire_time))

    async def remove(self, caller: Caller, inferences: Sequence[str]) -> None:
        await self._called("remove")
        self.kept = [
            each
            for each in self.kept
            if (each.project, each.inference) not in {(caller.project, one) for one in inferences}
        ]

    async def check(self, caller: Caller, policy: SemanticCachePolicy) -> None:
        await self._called("check")
        assert caller.project
        assert policy.embedding


def overlap(a: str, b: str) -> float:
    """Return the share of common words."""
    one, other = set(a.lower().split()), set(b.lower().split())
    return len(one & other) / len(one | other)


class SimilarHarness(CachedHarness):
    """Answers for a deployment that also gives answers again to similar questions."""

    def __init__(self, *, timeout_s: float = 5.0, pause_s: float = 0.0, **changes: Any) -> None:  # noqa: ANN401 - of any field
        super().__init__(**{"cache": SEMANTIC, **changes})
        self.similar = WordOverlap()
        reusing = self.answer.make.reusing
        assert isinstance(reusing, ReuseAnswers)
        comparing = CompareQuestions(
            questions=self.similar, inferences=self.inferences, timeout_s=timeout_s, pause_s=pause_s
        )
        make = replace(self.answer.make, reusing=replace(reusing, comparing=comparing))
        self.answer = replace(self.answer, make=make)
