"""Ports of metrics."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.metrics.domain.metric import Metric, Pair, PairScores, Scored


class KnownMetrics(Protocol):
    """The metrics that there are."""

    @property
    def names(self) -> Sequence[str]:
        """Their names, for errors; of those with a parameter `family:NAME`."""
        ...

    def find(self, name: str) -> Metric | None:
        """Return the metric of this name, if it is one; pure, and the same for every project."""
        ...


class TextRefused(InvalidInput):
    """A model does not take a text, which is too long, or no text to it; `number` is its place in the call."""

    def __init__(self, number: int, *, too_long: bool) -> None:
        super().__init__(f"text {number} is refused: cut it, or leave it out")
        self.number = number
        self.too_long = too_long


MAX_TEXTS = 64
"""Of one call: their vectors fit into one reply, and other projects need not wait long."""


class Embedder(Protocol):
    """Embeds texts by models of the registry, or by those of collections."""

    async def version(self, caller: Caller, model: str) -> str:
        """Return the `model@version` that embeds now by `model`, `model@version`, or `collection:NAME`.

        Raises:
            NotFound, InvalidInput, PreconditionFailed: there is none that can embed.
            DependencyUnavailable: rag does not answer.

        """
        ...

    async def embed(self, caller: Caller, version: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return the vectors of at most `MAX_TEXTS` texts, of length 1, by a `model@version`.

        Raises:
            TextRefused: naming the first one.
            NotFound, InvalidInput, PreconditionFailed, DependencyUnavailable: as `version`.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMatch:
    """How near the tokens of a text and of a reference are, each to its nearest of the other; -1 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both, 0 to 1; 0 where one is not positive."""
        if min(self.precision, self.recall) <= 0:
            return 0.0
        return min(1.0, 2 * self.precision * self.recall / (self.precision + self.recall))


class TokenMatcher(Protocol):
    """Compares texts token by token, by models of the registry, or by those of collections."""

    async def match(self, caller: Caller, version: str, pairs: Sequence[tuple[str, str]]) -> Sequence[TokenMatch]:
        """Return how near each text and its reference are, by a `model@version`.

        Raises:
            NotFound, InvalidInput, PreconditionFailed, DependencyUnavailable: as `Embedder.version`.

        """
        ...


class CodeRunner(Protocol):
    """Runs code of answers where it can only compute."""

    async def check(self) -> None:
        """Refuse where no code can run.

        Raises:
            PreconditionFailed: the machine cannot keep code from files and connections, or runs none to its end.

        """
        ...

    async def passes(self, caller: Caller, code: str, tests: str) -> Scored:
        """Return 1 where tests pass after the code, else 0; None where the tests are no Python, or the machine is slow.

        Raises:
            PreconditionFailed: the machine cannot keep code from files and connections.

        """
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
