"""The metric `code_runs`: whether the code of an answer passes the tests of its case."""

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

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`.

        Raises:
            NoVerdict: code does not run here.

        """
        del names, gating
        await self._refuse_unless_runs(caller)

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`; there is one version.

        Raises:
            NoVerdict: code does not run here.

        """
        del names, answering, gating
        await self._refuse_unless_runs(caller)
        return {}

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`; none where code does not run here, and only a case asks for it."""
        del names
        try:
            return PairScores(
                baseline=await self._side(caller, pair, pair.baseline),
                candidate=await self._side(caller, pair, pair.candidate),
            )
        except PreconditionFailed as error:
            raise NoVerdict(CODE_UNAVAILABLE, error.message) from error

    async def _side(self, caller: Caller, pair: Pair, answered: GivenAnswer | None) -> Scores:
        if self._runner is None or answered is None:
            return {}
        code = code_in(answered.text)
        if not code.strip():
            return {CODE_RUNS: 0.0}
        return {CODE_RUNS: await self._runner.passes(caller, code, pair.case.code_tests)}

    async def _refuse_unless_runs(self, caller: Caller) -> None:
        if self._runner is None:
            raise NoVerdict(CODE_UNAVAILABLE, _NOT_ALLOWED)
        try:
            await self._runner.passes(caller, "", "")
        except PreconditionFailed as error:
            raise NoVerdict(CODE_UNAVAILABLE, error.message) from error
