"""Stops the measurements of an erased project, and of one whose end user is erased: what they read is in memory."""

from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import JudgeNotFound
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.domain.measurement import MeasurementState
from tidemill_evaluator.judges.ports import Judges
from tidemill_kit.erasure.steps import Target

_WHY = "answers were erased while they were judged: measure it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMeasurements:
    """A measurement that was stopped stores nothing any more."""

    judges: Judges

    async def __call__(self, project: str) -> None:
        """Stop those of a project."""
        await self._stop(project)

    async def of_user(self, target: Target) -> int:
        """Stop those of the end user's project; return how many were stopped."""
        return await self._stop(target.project)

    async def _stop(self, project: str) -> int:
        judges = [each async for each in list_all(self.judges, project) if _is_measured(each)]
        for judge in judges:
            try:
                await self.judges.update(project, judge.id, _stop, request=Request.internal())
            except JudgeNotFound:
                continue
        return len(judges)


def _is_measured(judge: Judge) -> bool:
    return judge.measurement is not None and judge.measurement.state is MeasurementState.RUNNING


def _stop(judge: Judge) -> None:
    judge.stop_measurement(_WHY)
