"""What is known of models that need not be loaded, and what shows it."""

from typing import Protocol

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.served_models.domain.served_model import DeclaredModel, ServedModel


class ModelFacts(Protocol):
    """Reads what the registry's files say of a model."""

    async def declared(self, caller: Caller, model: ModelVersion) -> DeclaredModel:
        """Return what is known of a model.

        Raises:
            TidemillError: the files cannot be read now.

        """
        ...


class ServedModels(Protocol):
    """The use case `ReadServedModels`."""

    async def get(self, caller: Caller, deployment: str) -> ServedModel:
        """Return what one deployment serves.

        Raises:
            DeploymentNotFound: the project has none of this name.

        """
        ...

    async def list(self, caller: Caller, *, page: PageRequest) -> Page[ServedModel]:
        """Return a page of what the project's deployments serve."""
        ...
