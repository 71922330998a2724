"""Load a candidate before it serves requests."""

import logging
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.errors import DependencyUnavailable, Internal, NotFound, PreconditionFailed, TidemillError, isolated
from tidemill_inference.engines.ports import Engines, Models, ModelVersion
from tidemill_inference.rollouts.domain.changes import IndexChange
from tidemill_inference.rollouts.domain.errors import CandidateNotReady
from tidemill_inference.rollouts.domain.rollout import Rollout
from tidemill_inference.rollouts.ports import CandidatePrompts, Candidates, Indexes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareCandidate:
    """Asks the registry anew, loads the model, and verifies every file against the manifest, loaded or not."""

    candidates: Candidates
    models: Models
    engines: Engines
    indexes: Indexes
    prompts: CandidatePrompts

    async def __call__(self, caller: Caller, rollout: Rollout, *, engine: str = "") -> None:
        """Return once the candidate's model is loaded into the deployment's engine, and its index or prompt is there.

        Raises:
            CandidateNotReady: it is gone, not ready, damaged, or cannot be served here.
            ApprovalMissing: people still have to agree to the version.
            DependencyUnavailable: trainer or object store do not answer, or memory is used up for now.

        """
        model = rollout.candidate.model
        if rollout.index:
            await self.check_index(caller, rollout.index)
        if prompt := rollout.prompt:
            await self.prompts.check(caller, prompt.version, before=prompt.before)
            await self.prompts.check_approved(caller, prompt.version)
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

    async def authors(self, caller: Caller, rollout: Rollout) -> frozenset[str]:
        """Return the subjects that made the candidate, as far as they are known by now; none of an index version.

        Raises:
            CandidateNotReady: it is gone.
            DependencyUnavailable: the trainer does not answer.

        """
        if prompt := rollout.prompt:
            return await self.prompts.check(caller, prompt.version, before=prompt.before)
        return frozenset() if rollout.index else await self.candidates.authors(caller, rollout.candidate.model)

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
