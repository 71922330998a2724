"""The models of a project: import from a folder, a hub or a remote endpoint, and read."""

from collections.abc import AsyncIterator
from pathlib import Path

from tidemill.trainer.v1.model_pb2 import HuggingFaceSource, Model, ModelSource, ModelVersion, OpenAiSource
from tidemill.trainer.v1.model_registry_service_pb2 import (
    DeleteModelRequest,
    GetModelRequest,
    GetModelVersionRequest,
    ImportModelRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.derivations import Derivations
from tidemill_client.model_import import PATIENCE_S, Progress, folder_source, import_model
from tidemill_client.pages import each


def _unwatched(_done: int, _total: int) -> None:
    """Ignore the progress."""


class Models:
    """The models of a project. Importing the same content again returns the existing version."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.derivations = Derivations(connection)
        """Versions that are made of other versions: merged, or with int8 weights."""

    async def import_folder(self, model: str, folder: Path, *, progress: Progress = _unwatched) -> ModelVersion:
        """Hash a folder, upload the missing files, and return the ready version.

        Raises:
            ArtifactRefused: names the file that may not be part of a model.

        """
        source = await folder_source(folder)
        version, _ = await import_model(self._connection, model, source, folder=folder, progress=progress)
        return version

    async def import_hugging_face(
        self,
        model: str,
        repository: str,
        *,
        revision: str = "",
        progress: Progress = _unwatched,
        patience_s: float = PATIENCE_S,
    ) -> ModelVersion:
        """Have the registry fetch a hub repository, and return the version once it is ready.

        Raises:
            InvalidInput: the hub has no such repository or revision.
            ModelRefused: it holds something that may not be loaded.
            DependencyUnavailable: the hub has not answered for `patience_s`; the import goes on by itself.

        """
        source = ModelSource(hugging_face=HuggingFaceSource(repository=repository, revision=revision))
        version, _ = await import_model(self._connection, model, source, progress=progress, patience_s=patience_s)
        return version

    async def import_openai(
        self, model: str, remote_model: str, *, base_url: str, api_key_secret: str = ""
    ) -> ModelVersion:
        """Register a model behind an OpenAI-compatible endpoint; the API key is given by the name of a secret."""
        remote = OpenAiSource(model=remote_model, base_url=base_url, api_key_secret=api_key_secret)
        request = ImportModelRequest(model=model, source=ModelSource(openai=remote))
        return (await self._connection.models.ImportModel(request)).version

    async def get(self, model: str) -> Model:
        """Return a model."""
        return (await self._connection.models.GetModel(GetModelRequest(id=model))).model

    async def version(self, reference: str) -> ModelVersion:
        """Return `model@number`, or for `model` its newest ready version."""
        return (await self._connection.models.GetModelVersion(GetModelVersionRequest(id=reference))).version

    def all(self) -> AsyncIterator[Model]:
        """Yield the models, oldest first."""
        return each(self._connection.models.ListModels, ListModelsRequest(), lambda page: page.models)

    def versions(self, model: str) -> AsyncIterator[ModelVersion]:
        """Yield the versions of a model, oldest first."""
        return each(
            self._connection.models.ListModelVersions, ListModelVersionsRequest(model=model), lambda page: page.versions
        )

    async def delete(self, model: str, *, etag: str = "") -> Model:
        """Delete a model with all its versions, and return it."""
        return (await self._connection.models.DeleteModel(DeleteModelRequest(id=model, etag=etag))).model
