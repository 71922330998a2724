"""Records of answers, the texts that they refer to, and rag's search."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_inference.budgets.domain.rate_limits import RateLimits
from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.generation.domain.content import Passage, TokenLogprob
from tidemill_inference.generation.domain.history import History
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question

Inferences = Aggregates[Inference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A question with its history, and what gives it its place in its conversation: None where it is kept in none.

    `place` is called once nothing else refuses the question, and raises as `Conversing.join` does: the conversation may
    have changed.
    """

    question: Question
    place: Callable[[], Awaitable[None]] | None = None


class Conversing(Protocol):
    """Conversations, whose turns come before a question."""

    async def join(
        self, caller: Caller, question: Question, deployment: Deployment, *, inference_id: str, digest: str
    ) -> Joined:
        """Return a question with its history; an inference that has its place keeps it.

        A question without a conversation may have a history, too: what is remembered of its end user.

        Raises:
            QuestionRefused: the conversation cannot go on with it.
            ConversationOfAnother: another end user began the conversation.

        """
        ...

    async def recall(self, inference: Inference) -> History:
        """Return what the answer of a record was given of what was said before.

        Raises:
            PromptNotRecorded: it is not there any more as it was.

        """
        ...

    def answered(self, project: str, question: Question) -> None:
        """Do what follows from an answer, off its way; must not block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecords:
    """The retention of a deployment's records."""

    deployment: ResourceKey
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRecords:
    """The records of a project, or of one deployment, that are older."""

    project: str
    before: datetime
    deployment: str = ""


class EndUserData(Protocol):
    """What is kept of end users beside the records of answers."""

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        """Erase a batch, and return how much that was: 0 when nothing is left; or count."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedLines:
    """In how many files lines were emptied, and whether there are files that were not read yet."""

    changed: int
    more: bool


class EndUserFiles(Protocol):
    """Files with lines of end users: input and results of batches."""

    async def some(self, project: str, end_user: str) -> ErasedLines:
        """Empty the lines of an end user in some files; the next call goes on behind them."""
        ...


class Retained(Protocol):
    """How long projects keep their answers, and what legal holds keep."""

    def projects(self) -> Mapping[str, timedelta]:
        """Return how long the projects keep answers that say so, whatever their deployments say."""
        ...

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed."""
        ...


class Aging(Protocol):
    """What came of answers, and is kept as long as they are."""

    async def remove(self, old: OldRecords, *, limit: int) -> int:
        """Delete a batch of it; return how much."""
        ...


class Records(Protocol):
    """The records of answers, for deleting old ones."""

    async def limited(self) -> Sequence[KeptRecords]:
        """Return the deployments of all projects, also deleted ones, whose records have a retention."""
        ...

    async def remove(self, old: OldRecords, *, limit: int) -> int:
        """Delete a batch of them, oldest first, whose events are published; return how many."""
        ...


class DocumentTexts(Protocol):
    """Texts of documents, from ingest."""

    async def get(self, caller: Caller, document: str, version: int) -> str:
        """Return the masked text of a version, to which spans refer.

        Raises:
            TextGone: it was erased.
            DependencyUnavailable: ingest does not answer.

        """
        ...


DocumentVersion = tuple[str, int]
"""A document's id, and the number of a version."""


class DocumentReaders(Protocol):
    """Who may read documents, from ingest."""

    async def restricted(
        self, caller: Caller, versions: Sequence[DocumentVersion], *, principals: Sequence[str]
    ) -> frozenset[DocumentVersion]:
        """Return the versions that these principals may not read; all of them where no ingest is known.

        Raises:
            DependencyUnavailable: ingest does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Passages, best first, with ids from "1" on; `index` is the index version that was searched."""

    passages: tuple[Passage, ...]
    index: int
    warnings: tuple[str, ...] = ()
    """rag's warnings."""
    examples: tuple[str, ...] = ()
    """The ids of the examples that were chosen for the same question."""
    examples_known: bool = True
    """False where examples could not be chosen: other ones may belong to the question."""


class Retriever(Protocol):
    """rag's search."""

    async def check(self, caller: Caller, retrieval: Retrieval) -> None:
        """Refuse a collection or a pinned index that does not exist.

        Raises:
            ReferenceNotFound: lists what exists.
            DependencyUnavailable: rag does not answer.

        """
        ...

    async def search(
        self, caller: Caller, retrieval: Retrieval, *, question: str, principals: Sequence[str], timeout_s: float
    ) -> Found:
        """Return the passages for a question.

        Raises:
            PreconditionFailed: the collection is gone, or has no live index yet.
            DependencyUnavailable: rag does not answer in time.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The first step of every answer: who answers, and on what; the text is still to come."""

    inference: Inference
    limits: RateLimits | None = None
    """What clients are shown of the budgets that apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """More text of a candidate, or more of what the model thinks."""

    text: str = ""
    candidate: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """More of a tool call: `index` counts the calls of a candidate; id and name come with a call's first delta."""

    index: int
    candidate: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last step of every answer: all of it."""

    inference: Inference


Step = Started | Delta | ToolCallDelta | Finished
