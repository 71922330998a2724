"""Versions of models, and which of them serve."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.aggregate import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint; `secret` is the name of its key, "" sends none."""

    model: str
    base_url: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """An immutable version in the registry: files, or a remote model. `digest` is the manifest's or the address's.

    With a `base`, the files are an adapter for that version, which has files and no base itself.
    """

    id: str
    digest: str
    files: Mapping[str, ObjectRef] = field(default_factory=dict)
    remote: RemoteModel | None = None
    base: "ModelVersion | None" = None


LiveModel = tuple[str, str]
"""A project, and the `model@version` that one of its deployments serves or falls back to."""


class LiveModels(Protocol):
    """The models that the deployments of all projects serve."""

    async def among(self, models: Iterable[LiveModel]) -> frozenset[LiveModel]:
        """Return which of these are served now.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...


class Models(Protocol):
    """The trainer's registry."""

    async def resolve(self, project: str, reference: str, *, field: str) -> ModelVersion:
        """Return the version that `model` (the newest ready one) or `model@number` names.

        Raises:
            ReferenceNotFound: lists what exists, and names `field`.
            ModelNotReady: the version was not imported, or not yet.
            DependencyUnavailable: the trainer does not answer.

        """
        ...
