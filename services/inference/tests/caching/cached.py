"""Answering with a cache that is in memory."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from services.inference.tests.fakes import ADA, AnsweringHarness, asking, helpdesk, question
from tidemill_core.errors import TidemillError
from tidemill_inference.caching.count import CountSavings
from tidemill_inference.caching.domain.policy import CachePolicy
from tidemill_inference.caching.domain.savings import DailySavings, Savings
from tidemill_inference.caching.ports import Entry
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.generation.domain.inference import Inference


@dataclass
class InMemoryCachedAnswers:
    """Implements `ports.CachedAnswers`."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    down: TidemillError | None = None
    calls: int = 0

    def _called(self) -> None:
        self.calls += 1
        if self.down:
            raise self.down

    async def get(self, project: str, key: str) -> Entry | None:
        self._called()
        return self.entries.get((project, key))

    async def put(self, project: str, entry: Entry) -> None:
        self._called()
        self.entries[project, entry.key] = entry

    async def remove(self, project: str, entry: Entry) -> None:
        self._called()
        found = self.entries.get((project, entry.key))
        if found is not None and found.inference == entry.inference:
            del self.entries[project, entry.key]

    async def count(self, project: str, *, limit: int) -> int:
        self._called()
        return min(limit, sum(of == project for of, _ in self.entries))

    async def remove_first(self, project: str, *, limit: int) -> int:
        self._called()
        mine = sorted((each.expire_time, key) for key, each in self.entries.items() if key[0] == project)
        return self._remove([key for _, key in mine[:limit]])

    async def remove_expired(self, before: datetime, *, limit: int) -> int:
        self._called()
        return self._remove([key for key, each in self.entries.items() if each.expire_time <= before][:limit])

    def _remove(self, keys: list[tuple[str, str]]) -> int:
        for key in keys:
            del self.entries[key]
        return len(keys)


@dataclass
class InMemorySavings:
    """Implements `ports.SavingsStore`."""

    days: list[DailySavings] = field(default_factory=list)
    down: TidemillError | None = None

    async def add(self, savings: DailySavings) -> None:
        if self.down:
            raise self.down
        known = [each for each in self.days if replace(each, savings=savings.savings) == savings]
        self.days = [each for each in self.days if each not in known]
        self.days.append(replace(savings, savings=sum((each.savings for each in known), Savings()) + savings.savings))

    async def since(self, project: str, deployment: str, day: date) -> list[DailySavings]:
        mine = [each for each in self.days if (each.project, each.deployment) == (project, deployment)]
        return sorted((each for each in mine if each.day >= day), key=lambda each: each.day, reverse=True)

    async def remove_before(self, day: date, *, limit: int) -> int:
        old = [each for each in self.days if each.day < day][:limit]
        self.days = [each for each in self.days if each not in old]
        return len(old)


class CachedHarness(AnsweringHarness):
    """Answers for a deployment that gives answers again for an hour."""

    def __init__(
        self,
        *,
        ttl: timedelta = timedelta(hours=1),
        max_entries: int = 100,
        record_after_s: float = 60.0,
        entry_max_age: timedelta = timedelta(),
        **changes: Any,  # noqa: ANN401 - of any field
    ) -> None:
        super().__init__(deployment=helpdesk(**{"cache": CachePolicy(ttl=ttl), **changes}))
        self.cached, self.saved = InMemoryCachedAnswers(), InMemorySavings()
        self.savings = CountSavings(store=self.saved, clock=self.clock)
        reusing = ReuseAnswers(
            cached=self.cached,
            inferences=self.inferences,
            clock=self.clock,
            max_entries=max_entries,
            count=self.savings.add,
            entry_max_age=entry_max_age,
        )
        make = replace(self.answer.make, reusing=reusing, record_after_s=record_after_s)
        self.answer = replace(self.answer, make=make)

    async def ask(self, request_id: str, **changes: Any) -> Inference:  # noqa: ANN401 - ditto
        """Ask one question."""
        return await self.answer.whole(ADA, question(**changes), request=asking(request_id))
