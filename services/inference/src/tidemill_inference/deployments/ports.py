"""Deployments."""

from typing import Protocol

from tidemill_core.application import Aggregates, Page, PageRequest
from tidemill_inference.deployments.domain.deployment import Deployment

Deployments = Aggregates[Deployment]


class ReadDeployments(Protocol):
    """Deployments, for those who only read them and may see a change a moment later."""

    async def get(self, project: str, name: str, /) -> Deployment:
        """Return a deployment, of which nothing may be changed.

        Raises:
            DeploymentNotFound: the project has no such deployment.

        """
        ...

    async def list(self, project: str, *, page: PageRequest) -> Page[Deployment]:
        """Return a page of the project's deployments."""
        ...
