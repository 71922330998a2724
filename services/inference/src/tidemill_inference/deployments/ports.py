"""Deployments."""

from dataclasses import dataclass

from tidemill_core.application import Aggregates
from tidemill_inference.deployments.domain.deployment import Deployment

Deployments = Aggregates[Deployment]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRef:
    """A deployment of a project."""

    project: str
    id: str

    @property
    def key(self) -> str:
        """Its name among those of all projects."""
        return f"{self.project}/{self.id}"
