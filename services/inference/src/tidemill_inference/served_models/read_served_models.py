"""Show what deployments serve."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import TidemillError
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Models
from tidemill_inference.served_models.domain.served_model import DeclaredModel, ServedModel
from tidemill_inference.served_models.ports import ModelFacts

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadServedModels:
    """Loads no model. What cannot be learnt now is left out: a list must not fail by one model that is gone."""

    deployments: Deployments
    models: Models
    facts: ModelFacts

    async def get(self, caller: Caller, deployment: str) -> ServedModel:
        """Return what one deployment serves.

        Raises:
            DeploymentNotFound: the project has none of this name.

        """
        return await self._served(caller, await self.deployments.get(caller.project, deployment))

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[ServedModel]:
        """Return a page."""
        found = await self.deployments.list(caller.project, page=page)
        return Page(items=await self._all(caller, found.items), next_token=found.next_token)

    async def _all(self, caller: Caller, deployments: Sequence[Deployment]) -> Sequence[ServedModel]:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(deployment: Deployment) -> ServedModel:
            async with places:
                return await self._served(caller, deployment)

        return await asyncio.gather(*map(one, deployments))

    async def _served(self, caller: Caller, deployment: Deployment) -> ServedModel:
        live = deployment.live
        declared = await self._declared(caller, live.model)
        return ServedModel(
            id=deployment.id,
            project=deployment.project,
            create_time=deployment.create_time,
            model=live.model,
            context_tokens=declared.context_tokens,
            max_output_tokens=live.sampling.max_output_tokens,
            capabilities=declared.capabilities,
        )

    async def _declared(self, caller: Caller, model: str) -> DeclaredModel:
        try:
            return await self.facts.declared(caller, await self.models.resolve(caller, model, field="model"))
        except TidemillError:
            return DeclaredModel()
