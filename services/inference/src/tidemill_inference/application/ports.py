"""What inference needs from outside."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from tidemill_inference.domain.content import Message, Passage
from tidemill_inference.domain.deployment import Deployment, Retrieval, Sampling
from tidemill_inference.domain.inference import Inference
from tidemill_inference.domain.prompt import Prompt, PromptContent
from tidemill_inference.domain.step_counts import Outcome
from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Aggregates

Prompts = Aggregates[Prompt]
Deployments = Aggregates[Deployment]
Inferences = Aggregates[Inference]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPrompt:
    """A checked content; contents that differ only in comments or layout have the same digest."""

    content: PromptContent
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptInput:
    """The input of a template; `messages` are those before the question."""

    question: str
    passages: Sequence[Passage] = ()
    messages: Sequence[Message] = ()
    variables: Mapping[str, object] = field(default_factory=dict)


class Templates(Protocol):
    """Checks and renders prompts, which are untrusted code of a project, with limits on CPU time, memory and wall time.

    Every method raises PromptRefused also if a prompt exceeds a limit, and RateLimited if too much of the project's
    work waits already.
    """

    async def check(self, project: str, content: PromptContent) -> CheckedPrompt:
        """Return the content with its digest.

        Raises:
            PromptRefused: every problem of both templates and the schema, each with its line.

        """
        ...

    async def check_variables(self, project: str, content: PromptContent, variables: Mapping[str, object]) -> None:
        """Refuse variables that the prompt's schema does not allow.

        Raises:
            InvalidInput: every problem.

        """
        ...

    async def render(self, project: str, content: PromptContent, given: PromptInput) -> tuple[Message, ...]:
        """Return the system message, if the prompt has one, and the user message.

        Raises:
            PromptRefused: the template fails on this input, or its output is too long.

        """
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Passages, best first, with ids from "1" on; `index` is the index version that was searched."""

    passages: tuple[Passage, ...]
    index: int
    warnings: tuple[str, ...] = ()
    """rag's warnings."""


class Retriever(Protocol):
    """rag's search."""

    async def check(self, project: str, retrieval: Retrieval) -> None:
        """Refuse a collection or a pinned index that does not exist.

        Raises:
            ReferenceNotFound: lists what exists.
            DependencyUnavailable: rag does not answer.

        """
        ...

    async def search(
        self, project: str, retrieval: Retrieval, *, question: str, principals: Sequence[str], timeout_s: float
    ) -> Found:
        """Return the passages for a question.

        Raises:
            PreconditionFailed: the collection is gone, or has no live index yet.
            DependencyUnavailable: rag does not answer in time.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRef:
    """A deployment of a project."""

    project: str
    id: str

    @property
    def key(self) -> str:
        """Its name among those of all projects."""
        return f"{self.project}/{self.id}"


class Candidates(Protocol):
    """The trainer's registry, read without a cache: a candidate must exist when it is promoted."""

    async def check(self, project: str, model: str) -> None:
        """Refuse a `model@version` that is not ready, or was deleted.

        Raises:
            CandidateNotReady: says why.
            DependencyUnavailable: the trainer does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRating:
    """A rating of an inference; of the same feedback the one with the highest `seq` is valid."""

    feedback: str
    seq: int
    inference: str
    rollout: str
    number: float | None
    """None if it was withdrawn."""


class Outcomes(Protocol):
    """The outcomes of answers in rollouts: one small document per inference; recording is idempotent."""

    async def note(self, project: str, outcome: Outcome) -> None:
        """Record the outcome of an answer, replacing an earlier one of the same inference. Ratings are kept."""
        ...

    async def rate(self, project: str, rating: GivenRating) -> None:
        """Record a rating, also before the outcome itself, replacing an earlier one of the same feedback."""
        ...

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """Return a step's outcomes, or the newest of them, each with the mean of its ratings."""
        ...

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """Return a change token of the step's outcomes, which skips counting them again."""
        ...

    async def trim(self, project: str, rollout: str, step: int, *, newest: int) -> None:
        """Delete all outcomes of the step but about the newest."""
        ...

    async def forget(self, project: str, rollout: str) -> None:
        """Delete the outcomes of an ended rollout, whose counts are in the deployment."""
        ...

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        """Return project and id of each rollout with outcomes, none of which was recorded or rated since then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecords:
    """The retention of a deployment's records."""

    deployment: DeploymentRef
    days: int


class Records(Protocol):
    """The records of answers, for deleting old ones."""

    async def limited(self) -> Sequence[KeptRecords]:
        """Return the deployments of all projects, also deleted ones, whose records have a retention."""
        ...

    async def remove(self, kept: KeptRecords, *, before: datetime, limit: int) -> int:
        """Delete a batch of older records, oldest first, whose events are published; return how many."""
        ...


class ActiveRollouts(Protocol):
    """The deployments with an active rollout, of all projects."""

    async def all(self) -> Sequence[DeploymentRef]:
        """Return them all."""
        ...


class RolloutLeases(Protocol):
    """Leases on rollouts, by deployment."""

    def held(self, deployment: DeploymentRef) -> AbstractAsyncContextManager[int | None]:
        """Hold the lease for a block and yield its epoch; None if another replica holds it."""
        ...


Enqueue = Callable[[DeploymentRef], None]
"""Called with a deployment whose rollout is to be reconciled soon."""


def enqueues_nothing(_deployment: DeploymentRef) -> None:
    """Do nothing: the controller polls."""


class DocumentTexts(Protocol):
    """Texts of documents, from ingest."""

    async def get(self, project: str, document: str, version: int) -> str:
        """Return the masked text of a version, to which spans refer.

        Raises:
            TextGone: it was erased.
            DependencyUnavailable: ingest does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A reaction to an answer; exactly one of number, comment and correction is given."""

    inference: str
    metric: str
    number: float | None = None
    comment: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedReaction:
    """Its id and state."""

    id: str
    state: str
    inference: str = ""
    metric: str = ""
    of_asker: bool = True
    """Whether the asking user gave it."""


class Reactions(Protocol):
    """feedback's API."""

    async def submit(self, project: str, reaction: Reaction, *, request_id: str) -> SubmittedReaction:
        """Submit a reaction; idempotent by request id.

        Raises:
            InvalidInput: it is invalid.
            NotFound: there is no such inference.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def get(self, project: str, reaction: str) -> SubmittedReaction:
        """Return a submitted reaction.

        Raises:
            NotFound: the project has no such reaction.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def withdraw(self, project: str, reaction: str, *, request_id: str) -> SubmittedReaction:
        """Withdraw a reaction; idempotent.

        Raises:
            NotFound: the project has no such reaction.
            DependencyUnavailable: feedback does not answer.

        """
        ...
