"""Load a candidate before it serves requests."""

import logging
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.errors import DependencyUnavailable, Internal, NotFound, PreconditionFailed, TidemillError, isolated
from tidemill_inference.engines.ports import Engines, Models, ModelVersion
from tidemill_inference.rollouts.domain.errors import CandidateNotReady
from tidemill_inference.rollouts.domain.rollout import IndexChange
from tidemill_inference.rollouts.ports import Candidates, Indexes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareCandidate:
    """Asks the registry anew, loads the model, and verifies every file against the manifest, loaded or not."""

    candidates: Candidates
    models: Models
    engines: Engines
    indexes: Indexes

    async def __call__(self, caller: Caller, model: str, *, engine: str = "", index: IndexChange | None = None) -> None:
        """Return once the `model@version` is loaded into the deployment's engine, and `index` can be searched.

        Raises:
            CandidateNotReady: it is gone, not ready, damaged, or cannot be served here.
            ApprovalMissing: people still have to agree to the version.
            DependencyUnavailable: trainer or object store do not answer, or memory is used up for now.

        """
        if index:
            await self.check_index(caller, index)
        version = replace(await self._registered(caller, model), engine=engine)
        try:
            with isolated():
                # First: without memory for it, no file is read in vain.
                async with self.engines.use(caller.project, version):
                    await self.engines.verify(caller.project, version)
        except CandidateNotReady:
            raise
        except (NotFound, PreconditionFailed, Internal) as error:
            raise CandidateNotReady(model, why=error.message) from error
        except TidemillError:
            raise
        except Exception as error:
            _log.warning("candidate_not_loaded: %s", model, exc_info=error)
            raise CandidateNotReady(model, why=f"loading it failed ({type(error).__name__})") from error

    async def check_index(self, caller: Caller, index: IndexChange) -> None:
        """Return if the index version can be searched, and none but it and the one before is live.

        Raises:
            IndexNotReady, LiveIndexChanged: it cannot, or another one is.
            DependencyUnavailable: rag does not answer.

        """
        index.check_live(await self.indexes.live(caller, index.collection, index.number))

    async def _registered(self, caller: Caller, model: str) -> ModelVersion:
        """Return what the registry has; that it fails inside is no word about the candidate."""
        try:
            await self.candidates.check(caller, model)
            await self.candidates.check_approved(caller, model)
            return await self.models.resolve(caller, model, field="candidate")
        except (ApprovalMissing, CandidateNotReady):
            raise
        except (NotFound, PreconditionFailed) as error:
            raise CandidateNotReady(model, why=error.message) from error
        except Internal as error:
            message = f"the trainer does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="trainer") from error
