"""Versions of models, which of them serve, and what runs them."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.generation.domain.content import Message, TokenLogprob
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice


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
    engine: str = ""
    """What is to run its files, as a deployment names it; "" leaves it to the service."""

    @property
    def owners(self) -> frozenset[str]:
        """The projects that share it, or its base, with the one that asks."""
        return frozenset({self.owner, self.base.owner if self.base else ""} - {""})


DEFAULT_GRAMMAR_BYTES = 64 * 1024
"""Of all schemas of one answer, with the rules around them, as they are compiled."""
DEFAULT_OUTPUT_TOKENS = 512
"""Of an answer for which neither its caller nor its deployment sets a limit."""

TRANSFORMERS, VLLM = "transformers", "vllm"
"""What runs files here."""

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


class Capability(Enum):
    """What engines may lack."""

    TOOLS = 1
    JSON_SCHEMA = 2
    """Output formats, also those without a schema."""
    LOGPROBS = 3
    CANDIDATES = 4
    PENALTIES = 5
    LOGIT_BIAS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What an engine is asked: messages, and how to go on from them."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    output: OutputFormat | None = None
    candidates: int = 1
    """How many answers are made of the same messages."""

    @property
    def needs(self) -> Mapping[Capability, str]:
        """What an engine has to be capable of, and the field of a question that asks for it."""
        sampling = self.sampling
        calls = any(each.tool_calls or each.tool_results for each in self.messages)
        asked = (
            (Capability.TOOLS, "tools", self.tools),
            (Capability.TOOLS, "messages", calls and not self.tools),
            (Capability.JSON_SCHEMA, "output_format", self.output is not None),
            (Capability.LOGPROBS, "sampling.logprobs", sampling.logprobs),
            (Capability.CANDIDATES, "candidate_count", self.candidates > 1),
            (Capability.PENALTIES, "sampling.frequency_penalty", sampling.frequency_penalty),
            (Capability.PENALTIES, "sampling.presence_penalty", sampling.presence_penalty),
            (Capability.LOGIT_BIAS, "sampling.logit_bias", sampling.logit_bias),
        )
        return {capability: field for capability, field, is_asked in asked if is_asked}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """More of an answer: text, never part of a character, or what the model thinks; `logprobs` are of its tokens."""

    text: str = ""
    candidate: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallPiece:
    """More of a call: `index` counts the calls of a candidate; id and name come with a call's first piece."""

    index: int
    candidate: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    """More of the JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderIdentity:
    """What a provider's answer says of the model that made it, as OpenAI's `model` and `system_fingerprint`.

    Each is a name of up to 128 characters, or a digest; "" where the provider says none.
    """

    provider_model: str = ""
    system_fingerprint: str = ""


Identified = Callable[[str, str, ProviderIdentity], None]
"""Called with the project, the `model@version`, and what a provider's answer says of itself; must not block."""


def identifies_nothing(_project: str, _model: str, _identity: ProviderIdentity) -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of a candidate; that of the last one ends the answer. Usage is in the model's tokens.

    `reason` is "stop", "length", "tool_calls" or "content_filter". The output tokens of all candidates add up; an
    engine that knows only their sum gives it with the last one.
    """

    reason: str
    input_tokens: int
    output_tokens: int
    candidate: int = 0
    cached_input_tokens: int = 0
    """Of the input tokens, those that the engine had in its cache."""
    identity: ProviderIdentity | None = None
    """Of a provider that says something of it."""


Generated = Piece | ToolCallPiece | Finish
"""What an engine yields."""


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

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; it is asked for nothing else."""
        ...

    async def count_tokens(self, prompt: Prompt) -> int | None:
        """Return the tokens of the messages and tools; None is unknown."""
        ...

    def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """Yield pieces, and a Finish for each candidate. Closing the generator, or the timeout, stops the work at once.

        Raises:
            InvalidInput: the model cannot take the prompt.
            TimeoutError: the timeout has passed.
            DependencyUnavailable: a remote engine fails, returns invalid data, or times out; a local one has died.
            Internal: the engine fails on this request.

        """
        ...


class Asking(Protocol):
    """Models that the service itself asks something."""

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        """Return what a model, `model` or `model@version`, says; "" where that is nothing.

        The last message is shortened where it does not fit the model.

        Raises:
            ReferenceNotFound, ModelNotReady: there is no such version.
            DependencyTimedOut: the time has passed.
            TidemillError: as `Engines.use` and `Engine.generate`.

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


Warm = Callable[[str, str, str], None]
"""Called with the project, the `model@version` that requests will need, and the engine that is to run it."""


def warms_nothing(_project: str, _model: str, _engine: str) -> None:
    """Loads nothing ahead."""
