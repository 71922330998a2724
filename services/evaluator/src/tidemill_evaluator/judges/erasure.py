"""Stops the measurements of an erased project; those of one whose end user is erased begin again.

What their workers have read is in memory, and they store nothing of it any more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Request
from tidemill_core.resources import list_all
from tidemill_evaluator.errors import JudgeNotFound
from tidemill_evaluator.judges.domain.judge import Judge
from tidemill_evaluator.judges.domain.measurement import MeasurementState
from tidemill_evaluator.judges.ports import Judges
from tidemill_kit.erasure.steps import Target

_WHY = "the project was erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMeasurements:
    """Implements both; a measurement that begins again keeps what is stored, of which the user's is erased."""

    judges: Judges

    async def __call__(self, project: str) -> None:
        """Stop those of a project."""
        await self._write(project, lambda judge: judge.stop_measurement(_WHY))

    async def of_user(self, target: Target) -> int:
        """Begin those of the end user's project again; return 0, since a step is repeated as long as it erases."""
        await self._write(target.project, Judge.restart_measurement)
        return 0

    async def _write(self, project: str, change: Callable[[Judge], object]) -> None:
        def write(judge: Judge) -> None:
            change(judge)

        judges = [each async for each in list_all(self.judges, project) if _is_measured(each)]
        for judge in judges:
            try:
                await self.judges.update(project, judge.id, write, request=Request.internal())
            except JudgeNotFound:
                continue


def _is_measured(judge: Judge) -> bool:
    return judge.measurement is not None and judge.measurement.state is MeasurementState.RUNNING
