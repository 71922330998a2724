"""Ports of metrics."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from tidemill_core.application import Caller
from tidemill_evaluator.metrics.domain.metric import Metric, Pair, PairScores


class KnownMetrics(Protocol):
    """The metrics that there are."""

    @property
    def names(self) -> Sequence[str]:
        """Their names, for errors; of those with a parameter `family:NAME`."""
        ...

    def find(self, name: str) -> Metric | None:
        """Return the metric of this name, if it is one; pure, and the same for every project."""
        ...


class MetricFamily(KnownMetrics, Protocol):
    """Metrics that are computed by the same means. Add one in `app.py`, and its names are known everywhere."""

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """Refuse metrics of this family that the project cannot use; nothing where it can use all.

        Called where a gate or an evaluation by hand asks for them; `gating` where they decide.

        Raises:
            InvalidInput, NotFound, PreconditionFailed: naming the metric, and what to do.

        """
        ...

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """Return the versions of what computes these metrics, by metric; nothing of what never changes.

        Called when an evaluation begins; the versions are in each of its pairs. `answering` are the models whose
        answers are compared, each as `model@version`; `gating` is whether the metrics decide.

        Raises:
            DependencyUnavailable, RateLimited: the evaluation waits, and goes on later.
            NoVerdict: the evaluation ends without a verdict.

        """
        ...

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """Return the scores of both sides of a case by these metrics, None for a value that is missing.

        The names are of this family, and apply to the case. It is called again after a crash, with the same answers.

        Raises:
            DependencyUnavailable, RateLimited: the evaluation waits, and goes on later.
            NoVerdict: the evaluation ends without a verdict.

        """
        ...
