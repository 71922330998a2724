"""Judges: models that score answers by a rubric."""

from collections.abc import Callable

from tidemill.evaluator.v1 import judge_service_pb2 as judges
from tidemill.evaluator.v1.judge_pb2 import Judge, JudgeMeasurementState
from tidemill_client.resources import Resources
from tidemill_client.waiting import poll

PATIENCE_S = 3600.0


class Judges(Resources[Judge]):
    """The judges of a project; their scores are the metrics `judge:<id>` of evaluations."""

    contract, stub, noun, field = judges, "judges", "Judge", "judge"

    async def measure(self, name: str, *, queue: str, field: str) -> Judge:
        """Start to measure how far a judge agrees with the resolved answers of a review queue, by one of its fields."""
        request = judges.MeasureJudgeRequest(id=name, queue=queue, field=field)
        return (await self._connection.judges.MeasureJudge(request)).judge

    async def measured(
        self, name: str, *, within_s: float = PATIENCE_S, watch: Callable[[Judge], None] = lambda _judge: None
    ) -> Judge:
        """Wait until the measurement of a judge has ended, and return the judge.

        Raises:
            DeadlineExceeded: `within_s` has passed; the measurement continues.

        """
        return await poll(
            lambda: self.get(name),
            lambda found: found.measurement.state != JudgeMeasurementState.JUDGE_MEASUREMENT_STATE_RUNNING,
            what=f"measurement of judge {name}",
            within_s=within_s,
            watch=watch,
        )
