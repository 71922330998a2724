"""The OpenAI-compatible door: chat completions and models, where a model is a deployment."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import structlog
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tidemill_inference.application.answer_question import AnswerQuestion
from tidemill_inference.application.generation import Delta, Finished, Started, Step
from tidemill_inference.application.ports import Deployments
from tidemill_inference.domain.errors import QuestionRefused
from tidemill_inference.domain.inference import Inference
from tidemill_inference.entrypoints.http_edge import HttpEdge, caller_of, error_response
from tidemill_inference.entrypoints.openai_replies import (
    chunk,
    completion,
    error_of,
    last_chunk,
    model,
    usage_chunk,
)
from tidemill_inference.entrypoints.openai_requests import ChatRequest, chat_request_of, question_of
from tidemill_kit import telemetry
from tidemill_kit.application import PageRequest, Request
from tidemill_kit.errors import Internal, TidemillError

_PAGE = 1000
_GONE = 499
"""The status of a request whose client left (nginx's word); nobody reads it but the log."""

_log = structlog.get_logger()

Handler = Callable[[HttpRequest], Awaitable[Response]]


class OpenAiDoor:
    """Serves `POST /v1/chat/completions`, `GET /v1/models` and `GET /healthz`."""

    def __init__(self, answer: AnswerQuestion, deployments: Deployments, *, max_body_bytes: int) -> None:
        self._answer = answer
        self._deployments = deployments
        self._max_body_bytes = max_body_bytes

    def app(self) -> HttpEdge:
        """Return the ASGI application."""
        routes = [
            Route("/v1/chat/completions", _guarded(self.complete), methods=["POST"]),
            Route("/v1/models", _guarded(self.list_models), methods=["GET"]),
            Route("/v1/models/{id}", _guarded(self.get_model), methods=["GET"]),
            Route("/healthz", _healthy, methods=["GET"]),
        ]
        return HttpEdge(Starlette(routes=routes))

    async def complete(self, http: HttpRequest) -> Response:
        """Answer, whole or as a stream. The header Idempotency-Key, where it is sent, is the request id."""
        caller = caller_of(http)
        body = await self._body(http)
        asked = chat_request_of(_json(body))
        request = Request.of(http.headers.get("idempotency-key", ""), json.dumps(_json(body), sort_keys=True).encode())
        steps = _until_gone(http, self._answer(caller, question_of(asked), request=request))
        if not asked.stream:
            async with aclosing(steps):
                async for step in steps:
                    if isinstance(step, Finished):
                        return JSONResponse(completion(step.inference))
            return Response(status_code=_GONE)
        first = await anext(steps, None)  # an error before the first step still has a status of its own
        if not isinstance(first, Started):
            return Response(status_code=_GONE)
        return StreamingResponse(_events(first.inference, steps, asked), media_type="text/event-stream")

    async def list_models(self, http: HttpRequest) -> Response:
        """List the project's deployments."""
        caller, found, token = caller_of(http), [], ""
        while True:
            page = await self._deployments.list(caller.project, page=PageRequest(size=_PAGE, token=token))
            found += [model(deployment) for deployment in page.items]
            token = page.next_token
            if not token:
                return JSONResponse({"object": "list", "data": found})

    async def get_model(self, http: HttpRequest) -> Response:
        """Return one deployment."""
        return JSONResponse(model(await self._deployments.get(caller_of(http).project, http.path_params["id"])))

    async def _body(self, http: HttpRequest) -> bytes:
        body = b""
        async for piece in http.stream():
            body += piece
            if len(body) > self._max_body_bytes:
                raise QuestionRefused(field="body", why=f"has more than {self._max_body_bytes} bytes")
        return body


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise QuestionRefused(field="body", why="is no JSON") from error


async def _events(started: Inference, steps: AsyncGenerator[Step, None], asked: ChatRequest) -> AsyncIterator[str]:
    """Yield server-sent events; an error in the middle is the last one, as OpenAI's clients expect it."""
    async with aclosing(steps):
        yield _event(chunk(started, {"role": "assistant", "content": ""}))
        try:
            async for step in steps:
                if isinstance(step, Delta):
                    yield _event(chunk(started, {"content": step.text}))
                elif isinstance(step, Finished):
                    yield _event(last_chunk(step.inference))
                    if asked.includes_usage:
                        yield _event(usage_chunk(step.inference))
        except TidemillError as error:
            yield _event(error_of(error)[1])
        yield "data: [DONE]\n\n"


def _event(body: object) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _until_gone(http: HttpRequest, steps: AsyncGenerator[Step, None]) -> AsyncGenerator[Step, None]:
    """Yield the steps, and leave as soon as the client has left, also while nothing is said."""
    gone = asyncio.create_task(_gone(http))
    try:
        while True:
            coming = asyncio.ensure_future(anext(steps, None))
            try:
                await asyncio.wait({gone, coming}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait({coming})
            step = None if coming.cancelled() else coming.result()
            if step is None:
                return
            yield step
    finally:
        gone.cancel()
        await steps.aclose()


async def _gone(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _healthy(_http: HttpRequest) -> Response:
    return JSONResponse({"status": "ok"})


def _guarded(handle: Handler) -> Handler:
    """Turn errors into OpenAI's shape; what is not of the kit's tree is logged and hidden."""

    async def guarded(http: HttpRequest) -> Response:
        try:
            return await handle(http)
        except TidemillError as error:
            return error_response(error)
        except Exception as error:  # noqa: BLE001 - the edge of the service
            _log.error("http_failed", path=http.url.path, exc_info=error)
            message = f"internal error; the service's log has it under trace {telemetry.trace_id()}"
            return error_response(Internal(message))

    return guarded
