"""The client.

async with Tidemill("acme") as tidemill:
    await tidemill.documents.upload(NewDocument(source="cms", key="kb/1", content=Path("reset.md")))
    answer = await tidemill.generate("helpdesk", "How do I reset my password?")
    print(text_of(answer))
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tidemill.content.v1.content_pb2 import Message
from tidemill.feedback.v1.feedback_pb2 import Feedback
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.deployment_pb2 import RecordMode
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import (
    EraseInferenceRequest,
    GenerateRequest,
    GenerateStreamRequest,
    GenerateStreamResponse,
    GetInferenceRequest,
    ListInferencesRequest,
)
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest, SearchResponse
from tidemill.status.v1.status_service_pb2 import GetStatusRequest, ServiceStatus
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_client.access import Access
from tidemill_client.audit import Audit
from tidemill_client.batches import Batches
from tidemill_client.connection import CALL_LIMIT_S, SERVICES, Addresses, Connection
from tidemill_client.conversations import Conversations, Memories
from tidemill_client.datasets import Datasets
from tidemill_client.declared import Collections, Deployments, Prompts, Sources
from tidemill_client.documents import Documents
from tidemill_client.erasures import Erasures, Holds, Retentions
from tidemill_client.evaluations import Evaluations
from tidemill_client.models import Models
from tidemill_client.pages import each
from tidemill_client.reactions import ANONYMOUS, Rater, Reactions
from tidemill_client.reviews import Reviews
from tidemill_client.rollouts import Rollouts
from tidemill_client.secrets import Secrets
from tidemill_client.stored_files import StoredFiles
from tidemill_client.sweeps import Sweeps
from tidemill_client.training import Training
from tidemill_client.values import Json, struct_of, user
from tidemill_core.errors import TidemillError
from tidemill_core.grpc.credentials import Credential

STATUS_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """Options of a generation; the deployment provides the defaults."""

    variables: Mapping[str, Json] | None = None
    """Checked against the prompt's schema."""
    conversation: str = ""
    """The conversation that goes on with this, or begins; its turns come before the question."""
    end_user: str = ""
    """The user's pseudonym."""
    principals: Sequence[str] = ()
    """The user's reader groups."""
    labels: Mapping[str, str] | None = None
    sampling: Sampling | None = None
    """Rejected unless the deployment allows it."""
    record_mode: RecordMode.ValueType = RecordMode.RECORD_MODE_UNSPECIFIED
    request_id: str = ""
    """Idempotency key: a repeated id returns the stored answer. If empty, a new one is generated."""


class Inferences:
    """The recorded inferences of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, inference: str) -> Inference:
        """Return an inference."""
        return (await self._connection.inferences.GetInference(GetInferenceRequest(id=inference))).inference

    async def erase(self, inference: str) -> None:
        """Erase question and answer of an inference; its counts stay."""
        await self._connection.inferences.EraseInference(EraseInferenceRequest(id=inference))

    def all(self, *, deployment: str = "") -> AsyncIterator[Inference]:
        """Yield the inferences, oldest first."""
        return each(
            self._connection.inferences.ListInferences,
            ListInferencesRequest(deployment=deployment),
            lambda page: page.inferences,
        )


class Tidemill:
    """A client for one project. Channels are opened on first use.

    Addresses are the given ones, else TIDEMILL_<SERVICE>_ADDRESS, else those of the stack that runs in the nearest
    `.tidemill/`. Every call has a deadline, every write a request id of its own, and UNAVAILABLE is tried again a few
    times, so that however often a write arrives, it has one effect. Errors are those of `tidemill_core.errors`.
    `credential` is an API key or a token, or what returns one; else the environment's.
    """

    def __init__(
        self, project: str, addresses: Addresses | None = None, *, credential: Credential | str | None = None
    ) -> None:
        self.connection = Connection(project, addresses, credential=credential)
        """The generated stubs, for RPCs without a method here."""
        self.sources = Sources(self.connection)
        """Sources of documents."""
        self.documents = Documents(self.connection)
        """Documents and their versions."""
        self.collections = Collections(self.connection)
        """Searchable collections."""
        self.models = Models(self.connection)
        """Models and their versions."""
        self.prompts = Prompts(self.connection)
        """Prompts and their versions."""
        self.deployments = Deployments(self.connection)
        """Deployments."""
        self.inferences = Inferences(self.connection)
        """The recorded inferences of a project."""
        self.conversations = Conversations(self.connection)
        """Conversations of end users."""
        self.memories = Memories(self.connection)
        """What is remembered of end users."""
        self.files = StoredFiles(self.connection)
        """The input and the results of batches."""
        self.batches = Batches(self.connection)
        """Many questions of a file, asked behind live traffic."""
        self.secrets = Secrets(self.connection)
        """Keys of remote models; their values are written only."""
        self.feedback = Reactions(self.connection)
        """Ratings, comments and corrections."""
        self.reviews = Reviews(self.connection)
        """Review queues, and what reviewers say."""
        self.datasets = Datasets(self.connection)
        """Datasets and their immutable versions."""
        self.training = Training(self.connection)
        """Training plans and runs."""
        self.sweeps = Sweeps(self.connection)
        """Searches for better settings of training plans."""
        self.evaluations = Evaluations(self.connection)
        """Gates and evaluations."""
        self.rollouts = Rollouts(self.connection)
        """Rollouts."""
        self.access = Access(self.connection)
        """Projects, members, service accounts, roles and API keys."""
        self.audit = Audit(self.connection)
        """Audit records of the project."""
        self.erasures = Erasures(self.connection)
        """Erasures of end users and documents."""
        self.holds = Holds(self.connection)
        """Legal holds."""
        self.retention = Retentions(self.connection)
        """How long the project keeps its data."""

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every channel."""
        await self.connection.__aexit__(kind, error, trace)

    async def rate(self, inference: str, rating: float, rater: Rater = ANONYMOUS) -> Feedback:
        """Rate an answer from 0 (bad) to 1 (good); a later rating by the same rater replaces it."""
        return await self.feedback.rate(inference, rating, rater)

    async def correct(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Submit the correct answer. Corrections become training examples."""
        return await self.feedback.correct(inference, text, rater)

    async def comment(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Comment on an answer."""
        return await self.feedback.comment(inference, text, rater)

    async def search(  # noqa: PLR0913 - keyword-only
        self,
        collection: str,
        query: str,
        *,
        top_k: int = 0,
        where: Mapping[str, Json] | None = None,
        sources: Sequence[str] = (),
        principals: Sequence[str] = (),
        index: int = 0,
        other_collections: Sequence[str] = (),
    ) -> SearchResponse:
        """Return the most similar passages, best first; `top_k` 0 is the default, `index` 0 the live index version.

        `other_collections` are searched beside it, and what all find is one ranking.
        """
        request = SearchRequest(
            collection=collection,
            query=query,
            top_k=top_k,
            metadata_filter=struct_of(where) if where else None,
            sources=sources,
            principals=principals,
            index=index,
            other_collections=other_collections,
        )
        return await self.connection.retrieval.Search(request)

    async def generate(
        self,
        deployment: str,
        question: str | Sequence[Message],
        ask: GenerateOptions | None = None,
        *,
        within_s: float = CALL_LIMIT_S,
    ) -> Inference:
        """Generate an answer to a question, or to a conversation that ends with one."""
        request = _question(deployment, question, ask or GenerateOptions())
        return (await self.connection.inferences.Generate(request, timeout=within_s)).inference

    async def generate_stream(
        self,
        deployment: str,
        question: str | Sequence[Message],
        ask: GenerateOptions | None = None,
        *,
        within_s: float = CALL_LIMIT_S,
    ) -> AsyncGenerator[GenerateStreamResponse, None]:
        """Stream an answer: `started`, then `delta` events, then `finished` with the complete inference.

        Closing the stream early (`contextlib.aclosing`) cancels the generation.
        """
        request = GenerateStreamRequest(request=_question(deployment, question, ask or GenerateOptions()))
        async for event in self.connection.inferences.GenerateStream(request, timeout=within_s):
            yield event

    async def status(self) -> Mapping[str, ServiceStatus | TidemillError]:
        """Return the status of every service, or the error of one that does not respond."""
        answers = await asyncio.gather(*(self._status(service) for service in SERVICES))
        return dict(zip(SERVICES, answers, strict=True))

    async def _status(self, service: str) -> ServiceStatus | TidemillError:
        try:
            stub = StatusServiceStub(self.connection.channel(service))
            return (await stub.GetStatus(GetStatusRequest(), timeout=STATUS_LIMIT_S)).status
        except TidemillError as error:
            return error


def _question(deployment: str, question: str | Sequence[Message], ask: GenerateOptions) -> GenerateRequest:
    return GenerateRequest(
        request_id=ask.request_id or str(uuid.uuid4()),
        deployment=deployment,
        messages=[user(question)] if isinstance(question, str) else question,
        variables=struct_of(ask.variables) if ask.variables else None,
        conversation=ask.conversation,
        end_user=ask.end_user,
        principals=ask.principals,
        labels=ask.labels,
        sampling=ask.sampling,
        record_mode=ask.record_mode,
    )
