"""Leases on evaluations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill_evaluator.application.ports import EvaluationName
from tidemill_evaluator.domain.errors import EvaluationLost
from tidemill_kit.workers.leases import LeaseLost, Leases


class MongoEvaluationLeases:
    """Implements `ports.EvaluationLeases`; the epoch fences the evaluation itself, which remembers it."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @asynccontextmanager
    async def held(self, name: EvaluationName) -> AsyncIterator[int | None]:
        """See `EvaluationLeases.held`."""
        try:
            async with self._leases.held(f"{name.project}/{name.evaluation}") as lease:
                yield lease.epoch if lease else None
        except LeaseLost as error:
            raise EvaluationLost(name.evaluation) from error
