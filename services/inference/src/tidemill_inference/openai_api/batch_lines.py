"""The lines of batches, answered as the endpoints answer requests."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tidemill.inference.v1 import embedding_service_pb2, inference_service_pb2
from tidemill_core.application import Caller, Request
from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    InvalidInput,
    RateLimited,
    TidemillError,
    isolated,
)
from tidemill_core.rights import end_user_of
from tidemill_inference.batches.ports import AskedLine, LineAnswer
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.embeddings.ports import Embedding
from tidemill_inference.generation.domain.errors import AnswerNotRecorded
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QuestionLimits
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.speaker import request_by, spoken_by
from tidemill_inference.openai_api.embeddings import EmbeddingBody, embeddings
from tidemill_inference.openai_api.errors import error_body, status_of_error
from tidemill_inference.openai_api.forms import CHATS, COMPLETIONS, RESPONSES, AskedBy, Form
from tidemill_inference.openai_api.intents import requests_of
from tidemill_inference.openai_api.together import Together, at_prompt
from tidemill_kit.access.policy import check
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.bodies import body_of

_log = structlog.get_logger()
_GENERATE = policy_of(inference_service_pb2.DESCRIPTOR, "InferenceService/Generate")
_EMBED = policy_of(embedding_service_pb2.DESCRIPTOR, "EmbeddingService/Embed")
_AGAIN_S = 1.0
_MADE_ANEW = "-again"
_MAX_MADE = 10
"""Times that an answer of a line is made, at most."""


class AnsweringWhole(Protocol):
    """The use case `AnswerQuestion`, whole."""

    async def whole(self, caller: Caller, question: Question, *, request: Request) -> Inference:
        """See `AnswerQuestion.whole`."""
        ...


@dataclass(frozen=True, kw_only=True)
class AnswerLines:
    """Implements `batches.ports.AnswerLine`."""

    answer: AnsweringWhole
    embed: Embedding
    issue: Callable[[str, str], str]
    """Makes the feedback token of an answer."""
    limits: QuestionLimits = DEFAULT_LIMITS

    def __call__(self, caller: Caller, endpoint: str, body: bytes, *, request_id: str) -> AskedLine:
        """See `AnswerLine`."""
        if endpoint == "/v1/embeddings":
            return _EmbeddingLine(embed=self.embed, caller=caller, body=body, request_id=request_id)
        return _TextLine(lines=self, form=_FORMS[endpoint], caller=caller, body=body, request_id=request_id)


_FORMS = {"/v1/chat/completions": CHATS, "/v1/completions": COMPLETIONS, "/v1/responses": RESPONSES}


@dataclass(slots=True, kw_only=True)
class _Line(ABC):
    """A line, whose errors are said as the endpoint says them."""

    caller: Caller
    body: bytes
    request_id: str

    @property
    def held(self) -> bool:
        """See `AskedLine.held`."""
        return False

    async def go_on(self) -> LineAnswer | None:
        """See `AskedLine.go_on`."""
        try:
            with isolated():
                return await self._next()
        except TidemillError as error:
            return LineAnswer(
                status=status_of_error(error), body=error_body(error), retry_after_s=_retry_after_s(error)
            )
        except Exception as error:  # noqa: BLE001 - one line that breaks must not end the others
            _log.error("batch_line_failed", request_id=self.request_id, exc_info=error)
            hidden = Internal(f"internal error; the service's log has it as batch_line_failed of {self.request_id}")
            return LineAnswer(status=status_of_error(hidden), body=error_body(hidden))

    @abstractmethod
    async def _next(self) -> LineAnswer | None: ...


@dataclass(slots=True, kw_only=True)
class _EmbeddingLine(_Line):
    """Asks for vectors; made again where they are lost with their worker, they are the same."""

    embed: Embedding

    async def _next(self) -> LineAnswer:
        check(self.caller, _EMBED)
        asked = await asyncio.to_thread(body_of, EmbeddingBody, self.body)
        end_user = end_user_of(self.caller, asked.user, field="user")
        vectors = await embeddings(self.embed, self.caller, asked)
        return LineAnswer(status=200, body=vectors, end_user=end_user)


@dataclass(slots=True, kw_only=True)
class _TextLine(_Line):
    """Asks for texts, that of one prompt after the other."""

    lines: AnswerLines
    form: Form
    asked: AskedBy | None = None
    questions: Sequence[Question] = ()
    requests: Sequence[Request] = ()
    answers: list[Inference] = field(default_factory=list)
    """To the first of the questions."""

    @property
    def held(self) -> bool:
        """See `AskedLine.held`."""
        return any(each.record is not RecordMode.FULL for each in self.answers)

    async def _next(self) -> LineAnswer | None:
        check(self.caller, _GENERATE)
        asked = self.asked or await self._read()
        number = len(self.answers)
        try:
            self.answers.append(await self._answered(number))
        except InvalidInput as error:
            named = at_prompt(error, number) if len(self.questions) > 1 else error
            raise asked.blamed(named) from error
        if len(self.answers) < len(self.questions):
            return None
        first, says = self.answers[0], self.form.says
        sayings = [says(asked, question, self.lines.issue) for question in self.questions]
        saying = Together(sayings, inference=first.id, candidates=self.questions[0].candidates)
        return LineAnswer(status=200, body=saying.whole(self.answers), end_user=first.end_user)

    async def _read(self) -> AskedBy:
        asked = await asyncio.to_thread(self.form.read, self.body)
        if asked.stream:
            raise InvalidInput.at(field="stream", text="is not for lines of a batch: leave it out")
        questions = asked.questions()
        self.lines.limits.check("prompts", len(questions), where="prompt")
        self.requests = await asyncio.to_thread(requests_of, self.request_id, questions)
        self.asked, self.questions = asked, questions
        return asked

    async def _answered(self, number: int) -> Inference:
        """Return an answer; one whose text was not recorded, and is lost with its worker, is made anew.

        Raises:
            AnswerNotRecorded: it was lost as often as it is made at most.

        """
        caller, intent = self.caller, self.requests[number]
        spoken = spoken_by(
            caller, self.questions[number], end_user_field="user", principals_field="tidemill.principals"
        )
        for time in range(_MAX_MADE):
            again = Request.digested(f"{intent.id}{_MADE_ANEW * time}", intent.digest)
            found = await self.lines.answer.whole(caller, spoken, request=request_by(caller, again))
            if found.output:
                return found
        what = f"the answer to prompt {number} was made {_MAX_MADE} times, and lost each time with its worker"
        raise AnswerNotRecorded(what, remedy="ask a deployment with full records, or have fewer prompts in a line")


def _retry_after_s(error: TidemillError) -> float | None:
    """Return when the same line may be asked again; None where that changes nothing."""
    match error:
        case RateLimited():
            return error.retry_after_s or _AGAIN_S
        case DependencyUnavailable() | DeadlineExceeded() | Internal() | Conflict():
            return _AGAIN_S
        case _:
            return None
