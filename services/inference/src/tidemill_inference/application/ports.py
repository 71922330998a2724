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
    """A content that can be rendered; the digest is the same for contents that differ in nothing that counts."""

    content: PromptContent
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptInput:
    """What a template sees; `messages` are those before the question."""

    question: str
    passages: Sequence[Passage] = ()
    messages: Sequence[Message] = ()
    variables: Mapping[str, object] = field(default_factory=dict)


class Templates(Protocol):
    """Checks and renders prompts, which are a project's own code: bounded in steps, memory and time.

    Every method raises PromptRefused also where a prompt takes more than its bounds, and RateLimited where too much of
    the project's work waits already.
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
            PromptRefused: the template fails on this input, or makes too much of it.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint; `secret` names its key, "" sends none."""

    model: str
    base_url: str
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """An immutable version of the registry: files, or a remote model. `digest` is the manifest's or the address's.

    With a `base`, the files are an adapter of that version, which is one of files without a base of its own.
    """

    id: str
    digest: str
    files: Mapping[str, ObjectRef] = field(default_factory=dict)
    remote: RemoteModel | None = None
    base: "ModelVersion | None" = None


LiveModel = tuple[str, str]
"""A project, and the `model@version` that one of its deployments answers with, or falls back to."""


class LiveModels(Protocol):
    """What the deployments of all projects answer with."""

    async def among(self, models: Iterable[LiveModel]) -> frozenset[LiveModel]:
        """Return which of these it is now.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...


class Models(Protocol):
    """The trainer's registry."""

    async def resolve(self, project: str, reference: str, *, field: str) -> ModelVersion:
        """Return the version that `model` (the newest ready one) or `model@number` names.

        Raises:
            ReferenceNotFound: says what exists; `field` is where the reference stands.
            ModelNotReady: the version was not imported, or not yet.
            DependencyUnavailable: the trainer does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Passages, best first, with ids from "1" on; `index` is the index version that answered."""

    passages: tuple[Passage, ...]
    index: int
    warnings: tuple[str, ...] = ()
    """What rag has to say of them."""


class Retriever(Protocol):
    """rag's search."""

    async def check(self, project: str, retrieval: Retrieval) -> None:
        """Refuse a collection or a pinned index that is not there.

        Raises:
            ReferenceNotFound: says what exists.
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
    """The end of an answer: why ("stop" or "length"), and what it cost in the model's tokens."""

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
        """How many tokens prompt and answer may have together; None is not known here."""
        ...

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """Return how many tokens the messages come to; None is not known here."""
        ...

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, timeout_s: float
    ) -> AsyncGenerator[Piece | Finish, None]:
        """Yield pieces and then one Finish. Closing the generator, or the time-out, stops the work at once.

        Raises:
            InvalidInput: the model cannot take the messages or the sampling.
            TimeoutError: the time-out has passed.
            DependencyUnavailable: a remote engine fails, answers nonsense, or not in time; a local one has died.
            Internal: the engine fails on this request.

        """
        ...


class Engines(Protocol):
    """All engines of this process."""

    def use(self, project: str, model: ModelVersion) -> AbstractAsyncContextManager[Engine]:
        """Load the model where it is not loaded yet, and keep it for the length of a block.

        Raises:
            ModelRefused: a file is damaged, missing, added or not data, or the engine cannot serve the model.
            AddressRefused: the remote model's address is not one to be called.
            SecretMissing: the project has no such key for the remote model's host.
            DependencyUnavailable: the object store does not answer, or memory is used up by models in use.

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
        """Load the model ahead of questions, and keep it for this holder until `release`, idle or not.

        Only where memory is used up by others is a kept model dropped, after all that nobody keeps; it is then loaded
        again with its next question. Preparing again changes nothing.

        Raises:
            As `use`.

        """
        ...

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """Let go what this holder kept: a model that nobody keeps or uses leaves memory. Repeating changes nothing."""
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
    """The trainer's registry, asked anew each time: what is promoted has to be there now."""

    async def check(self, project: str, model: str) -> None:
        """Refuse a `model@version` that is not ready, or not there any more.

        Raises:
            CandidateNotReady: says why.
            DependencyUnavailable: the trainer does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRating:
    """A rating of an inference; of one feedback, the one with the highest `seq` counts."""

    feedback: str
    seq: int
    inference: str
    rollout: str
    number: float | None
    """None where it was taken back."""


class Outcomes(Protocol):
    """What came of the answers in rollouts: one small document per inference, recorded as often as it comes."""

    async def note(self, project: str, outcome: Outcome) -> None:
        """Keep what came of an answer; the same inference again replaces it. Ratings are kept apart."""
        ...

    async def rate(self, project: str, rating: GivenRating) -> None:
        """Keep a rating, also where the answer itself is not recorded yet; an earlier one of the same feedback goes."""
        ...

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """Return a step's outcomes, or the newest of them, each with the mean of its ratings."""
        ...

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """Return what is another after each outcome or rating of the step, so that nobody reads the same again."""
        ...

    async def trim(self, project: str, rollout: str, step: int, *, newest: int) -> None:
        """Drop all outcomes of the step but about the newest."""
        ...

    async def forget(self, project: str, rollout: str) -> None:
        """Drop the outcomes of a rollout that has ended: what they came to is in the deployment."""
        ...

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        """Return project and id of each rollout with outcomes, none of them recorded or rated since then."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecords:
    """For how many days the records of a deployment's answers are kept."""

    deployment: DeploymentRef
    days: int


class Records(Protocol):
    """The records of answers, for those who clear away."""

    async def limited(self) -> Sequence[KeptRecords]:
        """Return the deployments of all projects, deleted ones too, whose records are not kept for ever."""
        ...

    async def remove(self, kept: KeptRecords, *, before: datetime, limit: int) -> int:
        """Remove some records from before, oldest first, whose events are out; return how many."""
        ...


class ActiveRollouts(Protocol):
    """The deployments with an active rollout, of all projects."""

    async def all(self) -> Sequence[DeploymentRef]:
        """Return them all."""
        ...


class RolloutLeases(Protocol):
    """The right to reconcile a deployment's rollout."""

    def held(self, deployment: DeploymentRef) -> AbstractAsyncContextManager[int | None]:
        """Hold the right for a block and yield its epoch; None where another process holds it."""
        ...


Enqueue = Callable[[DeploymentRef], None]
"""Told of a deployment whose rollout may have something to do."""


def enqueues_nothing(_deployment: DeploymentRef) -> None:
    """Nobody has to be told: they look by themselves."""


class DocumentTexts(Protocol):
    """Texts of documents, by whom they belong to."""

    async def get(self, project: str, document: str, version: int) -> str:
        """Return the masked text of a version, in which spans are counted.

        Raises:
            TextGone: it is not there any more.
            DependencyUnavailable: ingest does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What somebody thinks of an answer; exactly one of number, comment and correction is given."""

    inference: str
    metric: str
    number: float | None = None
    comment: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedReaction:
    """Under which id it is known, and where it stands."""

    id: str
    state: str
    inference: str = ""
    metric: str = ""
    of_asker: bool = True
    """Whether the person who asked gave it."""


class Reactions(Protocol):
    """The service that keeps reactions."""

    async def submit(self, project: str, reaction: Reaction, *, request_id: str) -> SubmittedReaction:
        """Hand a reaction over; the same request id again has one effect.

        Raises:
            InvalidInput: it is no reaction.
            NotFound: there is no such inference.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def get(self, project: str, reaction: str) -> SubmittedReaction:
        """Return a reaction that was submitted.

        Raises:
            NotFound: the project has none with this id.
            DependencyUnavailable: feedback does not answer.

        """
        ...

    async def withdraw(self, project: str, reaction: str, *, request_id: str) -> SubmittedReaction:
        """Withdraw a reaction; once it is withdrawn, nothing changes.

        Raises:
            NotFound: the project has none with this id.
            DependencyUnavailable: feedback does not answer.

        """
        ...
