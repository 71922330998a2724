"""Compares what the registry knows of the versions of both sides, where a gate asks for it: size and exposure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_evaluator.evaluations.domain.comparison import Comparison
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.exposure import Exposure, compared_exposure
from tidemill_evaluator.evaluations.domain.weights import Weights, compared_weights
from tidemill_evaluator.evaluations.ports import Models


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareVersions:
    """Of the versions that an evaluation compares. They never change, so that it may be computed again."""

    models: Models

    async def __call__(self, caller: Caller, evaluation: Evaluation) -> Sequence[Comparison]:
        """Return the comparisons that are asked for."""
        comparing, found = evaluation.comparing, list[Comparison]()
        names = (evaluation.baseline, comparing.candidate)
        if comparing.max_size_ratio:
            baseline, candidate = [await self._weights(caller, each) for each in names]
            found.append(compared_weights(baseline, candidate, max_ratio=comparing.max_size_ratio))
        if comparing.max_exposure:
            live, new = [await self._exposure(caller, each) for each in names]
            found.append(compared_exposure(live, new, version=comparing.candidate, at_most=comparing.max_exposure))
        return found

    async def _weights(self, caller: Caller, version: str) -> Weights:
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

    async def _exposure(self, caller: Caller, version: str) -> Exposure | None:
        try:
            return (await self.models.version(caller, version)).exposure
        except NotFound:
            return None
