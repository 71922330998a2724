"""Load a candidate before it serves requests."""

import logging
from dataclasses import dataclass

from tidemill_core.errors import (
    DependencyUnavailable,
    Internal,
    NotFound,
    PreconditionFailed,
    TidemillError,
    isolated,
)
from tidemill_inference.engines.ports import Engines, Models, ModelVersion
from tidemill_inference.errors import CandidateNotReady
from tidemill_inference.rollouts.ports import Candidates

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareCandidate:
    """Asks the registry anew, loads the model, and verifies every file against the manifest, loaded or not."""

    candidates: Candidates
    models: Models
    engines: Engines

    async def __call__(self, project: str, model: str) -> None:
        """Return once the `model@version` is loaded.

        Raises:
            CandidateNotReady: it is gone, not ready, damaged, or cannot be served here.
            DependencyUnavailable: trainer or object store do not answer, or memory is used up for now.

        """
        version = await self._registered(project, model)
        try:
            with isolated():
                async with self.engines.use(project, version):  # first: without memory for it, no file is read in vain
                    await self.engines.verify(project, version)
        except CandidateNotReady:
            raise
        except (NotFound, PreconditionFailed, Internal) as error:
            raise CandidateNotReady(model, why=error.message) from error
        except TidemillError:
            raise
        except Exception as error:
            _log.warning("candidate_not_loaded: %s", model, exc_info=error)
            raise CandidateNotReady(model, why=f"loading it broke ({type(error).__name__})") from error

    async def _registered(self, project: str, model: str) -> ModelVersion:
        """Return what the registry has; that it fails inside is no word about the candidate."""
        try:
            await self.candidates.check(project, model)
            return await self.models.resolve(project, model, field="candidate")
        except CandidateNotReady:
            raise
        except (NotFound, PreconditionFailed) as error:
            raise CandidateNotReady(model, why=error.message) from error
        except Internal as error:
            message = f"the trainer does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="trainer") from error
