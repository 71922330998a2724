"""Judges as trainer sees them, without evaluator."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tidemill_core.application import Caller
from tidemill_core.errors import PreconditionFailed, TidemillError
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.ports import JudgedAnswer


@dataclass(kw_only=True)
class FakeJudges:
    """Judges as scripted, and refuses as evaluator does what is not of the pinned version."""

    pinned: PinnedJudge = field(default_factory=lambda: PinnedJudge(version="tone@1-0123456789ab"))
    refuses: TidemillError | None = None
    """What pinning raises."""
    says: Callable[[JudgedAnswer], float | None] = lambda _answer: 0.5
    fails: list[TidemillError] = field(default_factory=list)
    """One for each call."""
    asked: list[JudgedAnswer] = field(default_factory=list)
    """Those that were answered."""
    callers: list[Caller] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    """Those that the judge was pinned for."""
    takes_s: float = 0.0
    in_flight: int = 0
    max_in_flight: int = 0

    async def pin(self, caller: Caller, judge: str, *, model: str, trained: str) -> PinnedJudge:
        assert judge
        self.callers.append(caller)
        self.models += [model, trained]
        if self.refuses:
            raise self.refuses
        return self.pinned

    async def score(self, caller: Caller, judge: str, *, version: str, answer: JudgedAnswer) -> float | None:
        assert judge
        self.callers.append(caller)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.takes_s)
            if self.fails:
                raise self.fails.pop(0)
            if version != self.pinned.version:
                message = f"judge {judge} was pinned as {version}, and is {self.pinned.version}"
                changed = PreconditionFailed(message)
                changed.reason = "JUDGE_CHANGED"
                raise changed
            self.asked.append(answer)
            return self.says(answer)
        finally:
            self.in_flight -= 1
