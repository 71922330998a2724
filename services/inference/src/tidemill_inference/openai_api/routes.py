"""The OpenAI-compatible API: chats, completions and responses, streamed or whole, and with them all further routes.

`model` is a deployment. The project is that of the API key. The optional header Idempotency-Key is the request id: the
same key returns the same answer, streamed or whole. What each API asks and says is in `forms`, errors are in `errors`.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tidemill.inference.v1 import inference_service_pb2
from tidemill_core.application import Caller, Request, derived_id
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QuestionLimits
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.speaker import request_by, spoken_by
from tidemill_inference.generation.ports import Finished, Started, Step
from tidemill_inference.openai_api.errors import error_response
from tidemill_inference.openai_api.forms import (
    CHATS,
    COMPLETIONS,
    RESPONSES,
    AskedBy,
    Form,
    IssueToken,
)
from tidemill_inference.openai_api.intents import IDEMPOTENCY_HEADER, requests_of
from tidemill_inference.openai_api.models import HttpModels
from tidemill_inference.openai_api.together import Together, of_prompt, side_by_side
from tidemill_inference.served_models.ports import ServedModels
from tidemill_kit.access.access import Access
from tidemill_kit.grpc.admission import Admission
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.application import application
from tidemill_kit.http.callers import is_browser
from tidemill_kit.http.exchange import DEFAULT_STALL_S, ClientLeft, Exchange
from tidemill_kit.http.feedback import HttpFeedback
from tidemill_kit.service.app import Dependency

DEFAULT_KEEP_ALIVE_S = 15.0
DEFAULT_CONCURRENT_PROMPTS = 8
CACHE_HEADER = "x-tidemill-cache"
"""What an answer that was given again has in common with the first one: `exact` or `semantic`."""
_GENERATE = policy_of(inference_service_pb2.DESCRIPTOR, "InferenceService/Generate")
_ROUTES = "see /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/models, /v1/files, /v1/batches and /v1/feedback"
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in between is to pass every token on at once
]
_LINE_BREAKS = {each: f"\\u{each:04x}" for each in (0x85, 0x2028, 0x2029)}
"""Characters that JSON may hold as they are, and that end a line for many who read lines."""

Json = dict[str, Any]
PrincipalsFrom = Literal["servers", "anybody", "nobody"]
"""The callers that may send `principals`: programs that are no browser, all, or none."""


class Answering(Protocol):
    """The use case `AnswerQuestion`."""

    def __call__(self, caller: Caller, question: Question, *, request: Request) -> AsyncGenerator[Step, None]:
        """See `AnswerQuestion`."""
        ...


class Routed(Protocol):
    """Serves further routes."""

    def routes(self, prefix: str) -> list[Route]:
        """Return them, below a prefix."""
        ...


class OpenAiApi:
    """The routes of the HTTP API, with `further` ones.

    `stall_s` is how long a client may neither send nor receive, `keep_alive_s` the interval of comments in a stream
    without output, `hosts` the served host names (see `check_host`), `principals_from` who may send `principals`,
    `access` what checks credentials, `admission` what counts requests, those by gRPC too. Of the prompts of one
    completion `max_concurrent_prompts` are answered at once.
    """

    def __init__(  # noqa: PLR0913 - all that the API depends on
        self,
        answer: Answering,
        models: ServedModels,
        *,
        max_body_bytes: int,
        feedback: HttpFeedback,
        further: Sequence[Routed] = (),
        access: Access,
        dependencies: Sequence[Dependency] = (),
        stall_s: float = DEFAULT_STALL_S,
        keep_alive_s: float = DEFAULT_KEEP_ALIVE_S,
        cors_origins: Sequence[str] = (),
        hosts: Collection[str] = (),
        principals_from: PrincipalsFrom = "servers",
        admission: Admission | None = None,
        limits: QuestionLimits = DEFAULT_LIMITS,
        max_concurrent_prompts: int = DEFAULT_CONCURRENT_PROMPTS,
    ) -> None:
        self._access = access
        self._admission = admission
        self._chat = ChatCompletions(
            answer=answer,
            max_body_bytes=max_body_bytes,
            keep_alive_s=keep_alive_s,
            issue=feedback.token_of,
            principals_from=principals_from,
            limits=limits,
            max_concurrent_prompts=max_concurrent_prompts,
        )
        self._feedback = feedback
        self._further = (HttpModels(models), *further)
        self._cors_origins = cors_origins
        self._dependencies = dependencies
        self._hosts = hosts
        self._stall_s = stall_s

    def app(self) -> Starlette:
        """Return the application."""
        return application(
            [*self._routes("/v1"), *self._routes("/projects/{project}/v1"), *self._feedback.routes()],
            dependencies=self._dependencies,
            error_response=error_response,
            served=_ROUTES,
            access=self._access,
            admission=self._admission,
            hosts=self._hosts,
            hosts_setting="INFERENCE_HTTP_HOSTS",
            cors_origins=self._cors_origins,
            stall_s=self._stall_s,
        )

    def _routes(self, prefix: str) -> list[Route]:
        return [
            Route(f"{prefix}/chat/completions", self._chat, methods=["POST"]),
            Route(f"{prefix}/completions", replace(self._chat, form=COMPLETIONS), methods=["POST"]),
            Route(f"{prefix}/responses", replace(self._chat, form=RESPONSES), methods=["POST"]),
            *(route for each in self._further for route in each.routes(prefix)),
        ]


@dataclass(frozen=True, kw_only=True)
class ChatCompletions:
    """`POST /v1/chat/completions`; an ASGI application, so that answer and client are attended to by one task."""

    form: Form = CHATS
    answer: Answering
    max_body_bytes: int
    keep_alive_s: float
    issue: IssueToken
    principals_from: PrincipalsFrom
    limits: QuestionLimits = DEFAULT_LIMITS
    max_concurrent_prompts: int = DEFAULT_CONCURRENT_PROMPTS

    async def __call__(self, scope: Scope, receive: Receive, _send: Send) -> None:
        """Answer one request, and stop when its client leaves."""
        exchange = Exchange.of(scope)
        caller = await exchange.admit(_GENERATE)
        asked = self.form.read(await exchange.body(at_most=self.max_body_bytes))
        questions = asked.questions()
        self.limits.check("prompts", len(questions), where="prompt")
        requests = requests_of(exchange.header(IDEMPOTENCY_HEADER), questions)
        requests = [request_by(caller, each) for each in requests]
        questions = [self._spoken(caller, asked, each, browser=is_browser(exchange.headers)) for each in questions]
        if "no-cache" in exchange.header("cache-control").lower():  # RFC 9111, 5.2.1.4
            questions = [replace(each, no_cache=True) for each in questions]
        steps = self._answers(caller, questions, requests)
        saying = Together(
            [self.form.says(asked, each, self.issue) for each in questions],
            inference=derived_id(caller.project, "inference", requests[0].id),
            candidates=questions[0].candidates,
        )
        try:
            if asked.stream:
                events = _EventStream(
                    exchange, keep_alive_s=self.keep_alive_s, done=self.form.done, names=self.form.names_events
                )
                await _stream(events, exchange, steps, saying)
            else:
                answers = await _whole(exchange, steps, of=len(questions))
                await JSONResponse(saying.whole(answers))(scope, receive, exchange.send)
        except InvalidInput as error:
            raise asked.blamed(error) from error

    def _answers(
        self, caller: Caller, questions: Sequence[Question], requests: Sequence[Request]
    ) -> AsyncGenerator[tuple[int, Step], None]:
        """Yield the steps of all answers, each with the number of its question."""
        asked = zip(questions, requests, strict=True)
        steps = [self.answer(caller, question, request=request) for question, request in asked]
        if len(steps) > 1:
            steps = [of_prompt(*each) for each in enumerate(steps)]
        return side_by_side(steps, max_concurrent=self.max_concurrent_prompts)

    def _spoken(self, caller: Caller, asked: AskedBy, question: Question, *, browser: bool) -> Question:
        """Return what the caller asks, for whom it may: a page, and its user, may send any groups.

        Raises:
            SpeaksForAnother: it names others than its credential.

        """
        by = self.principals_from
        may_name_others = by != "nobody" and not (browser and by == "servers")
        return spoken_by(
            caller,
            question,
            end_user_field=asked.end_user_field,
            principals_field="tidemill.principals",
            may_name_others=may_name_others,
        )


def _begun(exchange: Exchange, step: Started, *, alone: bool) -> None:
    exchange.facts.setdefault("inference", step.inference.id)
    if alone and step.inference.cache is not None:
        exchange.reply_headers[CACHE_HEADER] = step.inference.cache.kind.value
    if step.limits is not None:
        exchange.reply_headers.update(step.limits.headers())


async def _whole(exchange: Exchange, steps: AsyncGenerator[tuple[int, Step], None], *, of: int) -> Sequence[Inference]:
    """Return the answers in the order of their questions, of which there are so many."""
    answers = dict[int, Inference]()
    async with exchange.attended(), aclosing(steps):
        async for number, step in steps:
            if isinstance(step, Started):
                _begun(exchange, step, alone=of == 1)
            elif isinstance(step, Finished):
                answers[number] = step.inference
    return [answers[number] for number in range(of)]


async def _stream(
    events: "_EventStream", exchange: Exchange, steps: AsyncGenerator[tuple[int, Step], None], saying: Together
) -> None:
    """Send the steps as they come.

    Raises:
        TidemillError: before anything was sent. A later error is in the last event.

    """
    try:
        with exchange.hiding():
            async with exchange.attended(), events.kept_alive(), aclosing(steps):
                async for number, step in steps:
                    if isinstance(step, Started):
                        _begun(exchange, step, alone=saying.is_one)
                    for event in saying.of(number, step):
                        if event is not None:
                            await events.send(event)
    except TidemillError as error:
        if not events.begun:
            raise
        exchange.reason = error.reason
        for event in saying.failed(error):
            await events.send(event)
    else:
        await events.finish()
    await events.end()


class _EventStream:
    """Server-sent events (WHATWG HTML, 9.2); the answer begins with the first one, or with the first comment."""

    def __init__(self, exchange: Exchange, *, keep_alive_s: float, done: str, names: bool) -> None:
        """Prepare; see `Form` for `done` and `names`."""
        self._exchange = exchange
        self._keep_alive_s = keep_alive_s
        self._done = done
        self._names = names
        self._sending = asyncio.Lock()
        self._sent_at = time.monotonic()
        self.begun = False

    async def send(self, data: Json) -> None:
        """Send one event."""
        name = f"event: {data['type']}\n" if self._names else ""
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        await self._send(f"{name}data: {text.translate(_LINE_BREAKS)}\n\n")

    async def finish(self) -> None:
        """Send that all was said."""
        if self._done:
            await self._send(f"data: {self._done}\n\n")

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Send a comment whenever nothing else was sent for long: proxies take silence for the end."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})

    async def end(self) -> None:
        """Send that nothing follows."""
        await self._exchange.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self) -> None:
        while True:
            silent_s = time.monotonic() - self._sent_at
            await asyncio.sleep(max(0.0, self._keep_alive_s - silent_s))
            if time.monotonic() - self._sent_at >= self._keep_alive_s:
                try:
                    await self._send(": keep-alive\n\n")
                except ClientLeft:
                    return  # the task that waits for the answer gets the same error

    async def _send(self, text: str) -> None:
        async with self._sending:
            self._sent_at = time.monotonic()
            if not self.begun:
                self.begun = True
                await self._exchange.send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
            await self._exchange.send({"type": "http.response.body", "body": text.encode(), "more_body": True})
