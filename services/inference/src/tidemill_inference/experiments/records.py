"""Which run of an experiment an answer was part of, by its record."""

from dataclasses import dataclass

from tidemill_core.application import Aggregates
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRuns:
    """Implements `rollouts.ports.AnsweredIn`."""

    inferences: Aggregates[Inference]

    async def __call__(self, project: str, inference: str, /) -> str:
        """Return the run; "" where it was part of none, or its record was erased."""
        try:
            record = await self.inferences.get(project, inference)
        except InferenceNotFound:
            return ""
        return record.variant.experiment if record.variant else ""
