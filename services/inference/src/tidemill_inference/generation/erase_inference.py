"""Erase one question with its answer."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_core.resources import Write, update
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.speaker import owned
from tidemill_inference.generation.ports import Inferences


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseInference:
    """Emits InferenceWasCancelled where it is still being answered."""

    inferences: Inferences
    clock: Clock

    async def __call__(self, caller: Caller, inference_id: str, write: Write) -> None:
        """Erase it; the same request again has no second effect.

        Raises:
            InferenceNotFound: the caller has none with this id.

        """

        def erase(stored: Inference) -> None:
            if not owned(caller, stored.end_user):
                raise InferenceNotFound(inference_id)
            stored.erase(now=self.clock.now())

        await update(self.inferences, caller.project, inference_id, erase, write)
