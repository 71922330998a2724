"""Let a candidate that passed its gate begin."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request, ResourceKey
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.errors import CandidateNotReady
from tidemill_inference.rollouts.ports import CandidatePrompts, Candidates, Enqueue, Indexes, enqueues_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRollout:
    """Emits RolloutHasStarted, or RolloutWasRefused with its reason; the same evaluation again changes nothing."""

    deployments: Deployments
    candidates: Candidates
    indexes: Indexes
    prompts: CandidatePrompts
    clock: Clock
    enqueue: Enqueue = enqueues_nothing

    async def __call__(
        self, caller: Caller, deployment_id: str, passed: PassedEvaluation, *, request: Request
    ) -> Deployment | None:
        """Return the deployment, or None where there is none to roll anything out to.

        Raises:
            DependencyUnavailable: trainer or store do not answer.

        """
        try:
            current = await self.deployments.get(caller.project, deployment_id)
        except DeploymentNotFound:
            return None
        # Another live prompt, when it is decided, is another baseline: it is refused then.
        authors, live_index, why_not = await self._checked(caller, passed, live_prompt=current.live.prompt)
        now = self.clock.now()

        def change(stored: Deployment) -> None:
            stored.start_rollout(passed, why_not=why_not, now=now, authors=authors, live_index=live_index)

        try:
            saved = await self.deployments.update(caller.project, deployment_id, change, request=request)
        except DeploymentNotFound:
            return None
        self.enqueue(ResourceKey(project=caller.project, id=deployment_id))
        return saved

    async def _checked(
        self, caller: Caller, passed: PassedEvaluation, *, live_prompt: str
    ) -> tuple[frozenset[str], int, str]:
        """Return the candidate's authors, what is live beside an index version, or why it cannot serve."""
        candidate = passed.candidate
        try:
            if passed.collection:
                return frozenset(), await self.indexes.live(caller, passed.collection, passed.index), ""
            if passed.prompt:
                return await self.prompts.check(caller, candidate, before=live_prompt), 0, ""
            await self.candidates.check(caller, candidate)
            return await self.candidates.authors(caller, candidate), 0, ""
        except CandidateNotReady as error:
            return frozenset(), 0, error.message
