"""The metric `code_runs`: whether the code of an answer passes the tests of its case."""

import asyncio
from collections.abc import Collection, Mapping

from tidemill_core.application import Caller
from tidemill_core.errors import PreconditionFailed
from tidemill_evaluator.errors import CODE_UNAVAILABLE, NoVerdict
from tidemill_evaluator.metrics.domain.code import code_in
from tidemill_evaluator.metrics.domain.metric import CODE_RUNS, GivenAnswer, Metric, Need, Pair, PairScores, Scores
from tidemill_evaluator.metrics.fixed import FixedMetrics
from tidemill_evaluator.metrics.ports import CodeRunner

_NOT_ALLOWED = (
    "code_runs cannot be computed: this installation runs no code of answers; its operator allows it by "
    "EVALUATOR_RUN_CODE=true"
)
_METRIC = Metric(
    name=CODE_RUNS,
    source="1 for an answer whose Python passes the tests of its case: pass@1 (Chen et al. 2021)",
    needs=frozenset({Need.CODE_TESTS}),
    by_case=True,
)


class CodeMetrics(FixedMetrics):
    """Implements `ports.MetricFamily`; `runner` is None where the operator does not allow code to run."""

    def __init__(self, runner: CodeRunner | None) -> None:
        super().__init__({CODE_RUNS: _METRIC})
        self._runner = runner
        self._checking = asyncio.Lock()
        self._runs = False

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`.

        Raises:
            NoVerdict: code does not run here.

        """
        del caller, names, gating
        await self._refuse_unless_runs()

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`; there is one version.

        Raises:
            NoVerdict: code does not run here.

        """
        del caller, names, answering, gating
        await self._refuse_unless_runs()
        return {}

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`; none where code does not run here: what asks for them is refused by `pin`."""
        del names
        if self._runner is None or await self._why_not(self._runner):
            return PairScores()
        return PairScores(
            baseline=await self._side(caller, self._runner, pair, pair.baseline),
            candidate=await self._side(caller, self._runner, pair, pair.candidate),
        )

    @staticmethod
    async def _side(caller: Caller, runner: CodeRunner, pair: Pair, answered: GivenAnswer | None) -> Scores:
        if answered is None:
            return {}
        code = code_in(answered.text)
        if not code.strip():
            return {CODE_RUNS: 0.0}
        return {CODE_RUNS: await runner.passes(caller, code, pair.case.code_tests)}

    async def _refuse_unless_runs(self) -> None:
        if self._runner is None:
            raise NoVerdict(CODE_UNAVAILABLE, _NOT_ALLOWED)
        if why_not := await self._why_not(self._runner):
            raise NoVerdict(CODE_UNAVAILABLE, why_not.message) from why_not

    async def _why_not(self, runner: CodeRunner) -> PreconditionFailed | None:
        """Return why no code can run, if so; a machine where it did is not asked again."""
        async with self._checking:
            if not self._runs:
                try:
                    await runner.check()
                except PreconditionFailed as error:
                    return error
                self._runs = True
        return None
