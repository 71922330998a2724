"""Ports of prompt tests."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_evaluator.prompt_tests.domain.cells import CaseCells
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest

PromptTests = Aggregates[PromptTest]


class PromptResults(Protocol):
    """Stores the answers to cases as they arrive; every write is fenced by the lease's epoch."""

    async def read(self, project: str, test: str) -> Mapping[str, CaseCells]:
        """Return the stored results by case."""
        ...

    async def keep(self, project: str, test: str, result: CaseCells, *, epoch: int) -> None:
        """Store the result of a case.

        Raises:
            EvaluationLost: a later epoch was there.

        """
        ...


class ComparingJudges(Protocol):
    """Which metrics are of judges that compare two answers with each other."""

    async def __call__(self, caller: Caller, metrics: Collection[str]) -> Sequence[str]:
        """Return those of them."""
        ...
