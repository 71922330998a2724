"""Versions of models, which of them serve, and what runs them."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.generation.domain.content import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint; `secret` is the name of its key, "" sends none."""

    model: str
    base_url: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """An immutable version in the registry: files, or a remote model. `digest` is the manifest's or the address's.

    With a `base`, the files are an adapter for that version, which has files and no base itself. `owner` is the project
    that shares it and has its files; "" is the one that asks.
    """

    id: str
    digest: str
    files: Mapping[str, ObjectRef] = field(default_factory=dict)
    remote: RemoteModel | None = None
    base: "ModelVersion | None" = None
    owner: str = ""

    @property
    def owners(self) -> frozenset[str]:
        """The projects that share it, or its base, with the one that asks."""
        return frozenset({self.owner, self.base.owner if self.base else ""} - {""})


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

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        """Return the version that `model` (the newest ready one) or `model@number` names; `project/model` is shared.

        Raises:
            ReferenceNotFound: lists what exists, and names `field`; also of what is not, or no longer, shared.
            ModelNotReady: the version was not imported, or not yet.
            DependencyUnavailable: the trainer does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """More text of an answer, never part of a character."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of an answer: the reason ("stop" or "length"), and the usage in the model's tokens."""

    reason: str
    input_tokens: int
    output_tokens: int


class Engine(Protocol):
    """Runs one model version."""

    @property
    def fingerprint(self) -> str:
        """The engine, its library's version and its numeric format."""
        ...

    @property
    def context_tokens(self) -> int | None:
        """How many tokens prompt and answer may have together; None is unknown."""
        ...

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """Return the tokens of the messages; None is unknown."""
        ...

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, timeout_s: float
    ) -> AsyncGenerator[Piece | Finish, None]:
        """Yield pieces and then one Finish. Closing the generator, or the timeout, stops the work at once.

        Raises:
            InvalidInput: the model cannot take the messages or the sampling.
            TimeoutError: the timeout has passed.
            DependencyUnavailable: a remote engine fails, returns invalid data, or times out; a local one has died.
            Internal: the engine fails on this request.

        """
        ...


class Engines(Protocol):
    """All engines of this process."""

    def use(self, project: str, model: ModelVersion) -> AbstractAsyncContextManager[Engine]:
        """Load the model if necessary, and keep it loaded for the length of a block.

        Raises:
            ModelRefused: a file is damaged, missing, added or not data, or the engine cannot serve the model.
            AddressRefused: the remote model's address may not be called.
            SecretMissing: the project has no such key for the remote model's host.
            DependencyUnavailable: the object store does not answer, or models in use leave no memory.

        """
        ...

    async def verify(self, project: str, model: ModelVersion) -> None:
        """Compare every file of the model and of its base with their manifests, also where they are loaded.

        Raises:
            ModelRefused: a file is damaged, missing or added.
            DependencyUnavailable: the object store does not answer.

        """
        ...

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """Load the model ahead of requests, and hold it until `release`, also while idle.

        A held model is evicted only when memory is short, after all models without a holder; its next request loads it
        again. Idempotent.

        Raises:
            As `use`.

        """
        ...

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """Release a holder's model: an unused model without holders may be unloaded. Idempotent."""
        ...


Warm = Callable[[str, str], None]
"""Called with the project and the `model@version` that requests will need."""


def warms_nothing(_project: str, _model: str) -> None:
    """Loads nothing ahead."""
