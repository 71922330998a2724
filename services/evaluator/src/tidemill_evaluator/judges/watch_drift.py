"""Has judges judge again what they were measured on, so that one that changed unseen decides nothing."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Request, derived_id
from tidemill_evaluator.errors import JUDGE_DRIFTED, JUDGE_UNRELIABLE, NoVerdict, first_of
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.domain.agreement import MAX_UNJUDGED
from tidemill_evaluator.judges.domain.drift import JudgeDrift, Rejudged, fixed_cases
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.ports import JudgedItem, JudgedItems, Judges, Measured, PinnedJudge, Records

VALID_FOR = timedelta(minutes=10)
"""So long a check is not repeated: not by an evaluation that is begun again, either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDrift:
    """The cases are fixed: those that its measurement had it judge twice, as long as their records are there."""

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
            NoVerdict: it has drifted, or changed meanwhile, or does not judge.
            DependencyUnavailable, RateLimited: inference is unavailable or overloaded.

        """
        now, checked = self.clock.now(), pinned.judge.drift
        if checked and checked.version == pinned.version and now - checked.check_time < VALID_FOR:
            return  # one that has drifted was refused before
        scores = await self._scores(caller, pinned, check=now.isoformat())
        drift = JudgeDrift.of(scores, version=pinned.version, now=now)
        if drift is None:
            return

        def record(judge: Judge) -> None:
            if _measured(judge) == _measured(pinned.judge):  # else it is that of another measurement
                judge.drift = drift

        await self.judges.update(caller.project, pinned.judge.id, record, request=Request.internal())
        if drift.drifted:
            raise NoVerdict(JUDGE_DRIFTED, drift.explained(pinned.judge.id))

    async def _scores(self, caller: Caller, pinned: PinnedJudge, *, check: str) -> list[Rejudged]:
        judge, version = pinned.judge, pinned.version
        measured = Measured(judge=judge.id, version=version, measurement=_measured(judge))
        known = await self.judged.read(caller.project, measured)
        twice = [name for name, each in known.items() if each.score is not None and each.again is not None]
        found, unjudged = list[Rejudged](), list[str]()

        async def again(item: JudgedItem) -> None:
            record = await self.records.read(caller, item.inference)
            if record is None:
                return
            name = derived_id("drift", version, item.item, check)
            score = await self.ask.points(caller, pinned, record.material, name=name)
            if score is None:
                unjudged.append(item.item)
            elif item.score is not None and item.again is not None:
                found.append(Rejudged(item.score, item.again, score))

        try:
            async with asyncio.TaskGroup() as group:
                for name in fixed_cases(twice, self.max_cases):
                    group.create_task(again(known[name]))
        except ExceptionGroup as failures:
            raise first_of(failures) from failures
        _refuse_unreliable(judge.id, len(unjudged), of=len(unjudged) + len(found))
        return found


def _measured(judge: Judge) -> int:
    """Return the number of the measurement whose agreement it has."""
    return judge.measurement.completed if judge.measurement else 0


def _refuse_unreliable(judge: str, unjudged: int, *, of: int) -> None:
    """Refuse one that is late or says nonsense: that is no other judge, and may be over in a minute."""
    if unjudged > MAX_UNJUDGED * of:
        message = f"judge {judge} did not judge {unjudged} of {of} answers that it was measured on"
        raise NoVerdict(JUDGE_UNRELIABLE, f"{message}: use a model that answers in JSON and in time")
