"""Has judges judge again what they were measured on, so that one that changed unseen decides nothing."""

import asyncio
import hashlib
from dataclasses import dataclass
from heapq import nsmallest

from tidemill_core.application import Caller, Clock, Request, derived_id
from tidemill_evaluator.errors import JUDGE_DRIFTED, NoVerdict
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.domain.drift import JudgeDrift
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.ports import JudgedItem, JudgedItems, Judges, PinnedJudge, Records


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDrift:
    """The cases are fixed: those of the measurement with the lowest sha256, as long as their records are there."""

    judges: Judges
    judged: JudgedItems
    records: Records
    ask: AskJudge
    max_cases: int
    """0 checks none."""
    clock: Clock

    async def __call__(self, caller: Caller, pinned: PinnedJudge) -> None:
        """Check a judge that was measured, and record what was found.

        Raises:
            NoVerdict: it has drifted, or changed meanwhile.
            DependencyUnavailable, RateLimited: inference is unavailable or overloaded.

        """
        now = self.clock.now()
        scores = await self._scores(caller, pinned, check=now.isoformat())
        drift = JudgeDrift.of(scores, version=pinned.version, now=now)
        if drift is None:
            return

        def record(judge: Judge) -> None:
            judge.drift = drift

        await self.judges.update(caller.project, pinned.judge.id, record, request=Request.internal())
        if drift.drifted:
            raise NoVerdict(JUDGE_DRIFTED, drift.explained(pinned.judge.id))

    async def _scores(self, caller: Caller, pinned: PinnedJudge, *, check: str) -> list[tuple[float, float | None]]:
        known = await self.judged.read(caller.project, pinned.judge.id, version=pinned.version)
        usable = [each for each in known.values() if each.score is not None]
        fixed = nsmallest(self.max_cases, usable, key=lambda each: hashlib.sha256(each.item.encode()).digest())
        found = await asyncio.gather(*(self._again(caller, pinned, each, check=check) for each in fixed))
        return [pair for pair in found if pair is not None]

    async def _again(
        self, caller: Caller, pinned: PinnedJudge, item: JudgedItem, *, check: str
    ) -> tuple[float, float | None] | None:
        record = await self.records.read(caller, item.inference)
        if record is None or item.score is None:
            return None
        name = derived_id("drift", pinned.version, item.item, check)
        return item.score, await self.ask.points(caller, pinned, record.material, name=name)
