"""`/v1/batches`, by the RPCs of BatchService."""

import re
from datetime import UTC, timedelta
from typing import Annotated, Any

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.inference.v1 import batch_pb2
from tidemill.inference.v1 import batch_service_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_inference.openai_api.pages import Asked, listed
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.rpc import HttpRpcs

Json = dict[str, Any]
_SERVICE = f"/{pb.DESCRIPTOR.package}.BatchService"
_CREATE, _GET, _LIST, _CANCEL = (
    f"{_SERVICE}/{name}" for name in ("CreateBatch", "GetBatch", "ListBatches", "CancelBatch")
)
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_FIELDS = {"input_file": "input_file_id", "labels": "metadata", "request_id": "Idempotency-Key"}
_DEFAULT_LIMIT = 20
_MAX_BODY_BYTES = 64 * 1024
_ENDED = {
    batch_pb2.BATCH_STATE_COMPLETED: "completed_at",
    batch_pb2.BATCH_STATE_FAILED: "failed_at",
    batch_pb2.BATCH_STATE_EXPIRED: "expired_at",
    batch_pb2.BATCH_STATE_CANCELLED: "cancelled_at",
}


class BatchBody(Strict):
    """What `POST /v1/batches` takes."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ] = Field(default_factory=dict, max_length=16)


class HttpBatches:
    """Serves batches."""

    def __init__(self, rpcs: HttpRpcs) -> None:
        self._rpcs = rpcs

    def routes(self, prefix: str) -> list[Route]:
        """Return what is served below a prefix."""
        return [
            Route(f"{prefix}/batches", self.create, methods=["POST"]),
            Route(f"{prefix}/batches", self.list, methods=["GET"]),
            Route(f"{prefix}/batches/{{id}}", self.get, methods=["GET"]),
            Route(f"{prefix}/batches/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, http: Request) -> Response:
        """Begin a batch."""
        exchange = Exchange.of(http.scope)
        caller = await self._rpcs.admit(exchange, _CREATE)
        body = body_of(BatchBody, await exchange.body(at_most=_MAX_BODY_BYTES))
        batch = batch_pb2.Batch(endpoint=body.endpoint, input_file=body.input_file_id, labels=body.metadata)
        batch.completion_window.FromTimedelta(_window_of(body.completion_window))
        request = pb.CreateBatchRequest(batch=batch, request_id=exchange.header("idempotency-key"))
        try:
            reply: Any = await self._rpcs.call(_CREATE, request, caller=caller, exchange=exchange)
        except InvalidInput as error:
            raise error.renamed(lambda field: _FIELDS.get(field, field)) from error
        return JSONResponse(batch_object(reply.batch))

    async def list(self, http: Request) -> Response:
        """Return a page of batches, newest first."""
        exchange, asked = Exchange.of(http.scope), Asked.of(http, default=_DEFAULT_LIMIT)
        request = pb.ListBatchesRequest(page_size=asked.limit, order_by=asked.order_by)
        caller = await self._rpcs.admit(exchange, _LIST)
        if asked.after:
            known: Any = await self._rpcs.call(
                _GET, pb.GetBatchRequest(id=asked.after), caller=caller, exchange=exchange
            )
            last: batch_pb2.Batch = known.batch
            request.page_token = asked.token(last.project, last.create_time.ToDatetime(UTC))
        page: Any = await self._rpcs.call(_LIST, request, caller=caller, exchange=exchange)
        return JSONResponse(listed([batch_object(each) for each in page.batches], more=bool(page.next_page_token)))

    async def get(self, http: Request) -> Response:
        """Return one batch."""
        return await self._called(_GET, pb.GetBatchRequest, http)

    async def cancel(self, http: Request) -> Response:
        """End a batch early."""
        return await self._called(_CANCEL, pb.CancelBatchRequest, http)

    async def _called(
        self, method: str, kind: type[pb.GetBatchRequest | pb.CancelBatchRequest], http: Request
    ) -> Response:
        exchange = Exchange.of(http.scope)
        caller = await self._rpcs.admit(exchange, method)
        request = kind(id=http.path_params["id"])
        reply: Any = await self._rpcs.call(method, request, caller=caller, exchange=exchange)
        return JSONResponse(batch_object(reply.batch))


def batch_object(batch: batch_pb2.Batch) -> Json:
    """Return a batch in OpenAI's shape."""
    times = dict.fromkeys(("finalizing_at", *_ENDED.values()))
    if (name := _ENDED.get(batch.state)) is not None:
        times[name] = _time(batch.finish_time)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": _errors(batch),
        "input_file_id": batch.input_file,
        "completion_window": _written(batch.completion_window.ToTimedelta()),
        "status": batch_pb2.BatchState.Name(batch.state).removeprefix("BATCH_STATE_").lower(),
        "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None,
        "created_at": batch.create_time.seconds,
        "in_progress_at": _time(batch.start_time),
        "expires_at": _time(batch.expire_time),
        "cancelling_at": _time(batch.cancel_time),
        **times,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": dict(batch.labels),
    }


def _errors(batch: batch_pb2.Batch) -> Json | None:
    if not batch.reason:
        return None
    error = {"code": batch.reason.lower(), "message": batch.message, "param": None, "line": None}
    return {"object": "list", "data": [error]}


def _time(moment: Timestamp) -> int | None:
    return moment.seconds or None


def _window_of(text: str) -> timedelta:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise InvalidInput.at(
            field="completion_window", text=f"is {text[:20]!r}; use 24h, or another number of m, h or d"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _written(window: timedelta) -> str:
    minutes, seconds = divmod(int(window.total_seconds()), 60)
    if seconds:
        return f"{window.total_seconds():g}s"
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"
