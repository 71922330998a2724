"""Compares what the weights of both sides take, where a gate asks for a smaller model."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_evaluator.evaluations.domain.comparison import Comparison
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.weights import Weights, compared_weights
from tidemill_evaluator.evaluations.ports import Models


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareWeights:
    """Of the versions that an evaluation compares. They never change, so that it may be computed again."""

    models: Models

    async def __call__(self, caller: Caller, evaluation: Evaluation) -> Sequence[Comparison]:
        """Return the comparison, or nothing where none is asked for."""
        comparing = evaluation.comparing
        if not comparing.max_size_ratio:
            return []
        baseline, candidate = [await self._of(caller, each) for each in (evaluation.baseline, comparing.candidate)]
        return [compared_weights(baseline, candidate, max_ratio=comparing.max_size_ratio)]

    async def _of(self, caller: Caller, version: str) -> Weights:
        total, name, shared = 0, version, None
        while name:
            try:
                found = shared or await self.models.version(caller, name)
            except NotFound:
                return Weights(version=version, size_bytes=0, why=f"{name} is not there any more, or not shared")
            if not found.weights_bytes:
                return Weights(version=version, size_bytes=0, why=f"{name} has no weights in the registry")
            total, name, shared = total + found.weights_bytes, found.base, found.shared_base
        return Weights(version=version, size_bytes=total)
