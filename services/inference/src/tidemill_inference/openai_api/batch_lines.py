"""The lines of batches, answered as the endpoints answer requests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
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
from tidemill_inference.batches.ports import LineAnswer
from tidemill_inference.embeddings.ports import Embedding
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QuestionLimits
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.speaker import request_by, spoken_by
from tidemill_inference.openai_api.embeddings import EmbeddingBody, embeddings
from tidemill_inference.openai_api.errors import error_body, status_of_error
from tidemill_inference.openai_api.forms import CHATS, COMPLETIONS, RESPONSES, Form
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

    async def __call__(self, caller: Caller, endpoint: str, body: bytes, *, request_id: str) -> LineAnswer:
        """See `AnswerLine`."""
        endpoints: dict[str, Callable[[Caller, bytes, str], Awaitable[LineAnswer]]] = {
            "/v1/chat/completions": partial(self._text, CHATS),
            "/v1/completions": partial(self._text, COMPLETIONS),
            "/v1/responses": partial(self._text, RESPONSES),
            "/v1/embeddings": self._embeddings,
        }
        try:
            with isolated():
                return await endpoints[endpoint](caller, body, request_id)
        except TidemillError as error:
            return LineAnswer(
                status=status_of_error(error), body=error_body(error), retry_after_s=_retry_after_s(error)
            )
        except Exception as error:  # noqa: BLE001 - one line that breaks must not end the others
            _log.error("batch_line_failed", request_id=request_id, exc_info=error)
            hidden = Internal(f"internal error; the service's log has it as batch_line_failed of {request_id}")
            return LineAnswer(status=status_of_error(hidden), body=error_body(hidden))

    async def _text(self, form: Form, caller: Caller, body: bytes, request_id: str) -> LineAnswer:
        check(caller, _GENERATE)
        asked = await asyncio.to_thread(form.read, body)
        if asked.stream:
            raise InvalidInput.at(field="stream", text="is not for lines of a batch: leave it out")
        questions = asked.questions()
        self.limits.check("prompts", len(questions), where="prompt")
        answers = list[Inference]()

        @cache
        def intents(time: int) -> list[Request]:
            return requests_of(f"{request_id}{_MADE_ANEW * time}", questions)

        try:
            for number, question in enumerate(questions):
                tries = (intents(time)[number] for time in range(_MAX_MADE))
                answers.append(await self._answered(caller, question, tries))
        except InvalidInput as error:
            named = at_prompt(error, len(answers)) if len(questions) > 1 else error
            raise asked.blamed(named) from error
        sayings = [form.says(asked, question, self.issue) for question in questions]
        saying = Together(sayings, inference=answers[0].id, candidates=questions[0].candidates)
        return LineAnswer(status=200, body=saying.whole(answers), end_user=answers[0].end_user)

    async def _embeddings(self, caller: Caller, body: bytes, _request_id: str) -> LineAnswer:
        """Return vectors; made again where they are lost with their worker, they are the same."""
        check(caller, _EMBED)
        asked = await asyncio.to_thread(body_of, EmbeddingBody, body)
        end_user = end_user_of(caller, asked.user, field="user")
        return LineAnswer(status=200, body=await embeddings(self.embed, caller, asked), end_user=end_user)

    async def _answered(self, caller: Caller, question: Question, intents: Iterator[Request]) -> Inference:
        """Return the answer; one whose text was not recorded, and is lost, is made anew by the next intent.

        It is lost where the worker that had it has died, or where a further prompt of its line had to wait.
        """
        spoken = spoken_by(caller, question, end_user_field="user", principals_field="tidemill.principals")
        found = await self.answer.whole(caller, spoken, request=request_by(caller, next(intents)))
        while not found.output and (another := next(intents, None)) is not None:
            found = await self.answer.whole(caller, spoken, request=request_by(caller, another))
        return found


def _retry_after_s(error: TidemillError) -> float | None:
    """Return when the same line may be asked again; None where that changes nothing."""
    match error:
        case RateLimited():
            return error.retry_after_s or _AGAIN_S
        case DependencyUnavailable() | DeadlineExceeded() | Internal() | Conflict():
            return _AGAIN_S
        case _:
            return None
