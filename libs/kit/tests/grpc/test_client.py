import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import grpc
import pytest

from libs.kit.tests.grpc.support import Context, Lines, documents, inferences, serving, sources
from tidemill.inference.v1.inference_service_pb2 import GenerateStreamRequest, GenerateStreamResponse
from tidemill.ingest.v1.document_service_pb2 import UploadDocumentRequest, UploadDocumentResponse
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import (
    CreateSourceRequest,
    CreateSourceResponse,
    GetSourceRequest,
    GetSourceResponse,
)
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill.status.v1.status_service_pb2 import GetStatusRequest
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_core import errors
from tidemill_core.application import Caller
from tidemill_core.errors import Blame
from tidemill_core.grpc.client import NoCaller, open_channel
from tidemill_core.grpc.context import acting_as, bind_call
from tidemill_core.grpc.status import from_rpc_error
from tidemill_kit.events.retry import EngineLimits, RetryPolicy
from tidemill_kit.grpc.server import current_caller, remaining_s
from tidemill_kit.runtime import telemetry
from tidemill_kit.workers.fair_share import Turns
from tidemill_testkit.access import admin_channel
from tidemill_testkit.polling import eventually


class SourceFrozen(errors.PreconditionFailed):
    reason = "SOURCE_FROZEN"


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidInput("x", violations=[errors.Violation(field="id", description="is odd")], limit=3),
        errors.RequestIdReused("r-1"),
        errors.NotFound("no such source", source="cms"),
        errors.AlreadyExists("x"),
        errors.Conflict("x"),
        errors.PreconditionFailed("x"),
        errors.Unauthenticated("x"),
        errors.PermissionDenied("x"),
        errors.RateLimited("x", retry_after_s=2.5),
        errors.DeadlineExceeded("x"),
        errors.Internal("x"),
        errors.DependencyUnavailable("x", dependency="mongodb"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_comes_out_of_a_call_as_it_went_into_it(raised: errors.TidemillError) -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        raise raised

    async with serving(sources(GetSource=fail)) as running:
        with pytest.raises(errors.TidemillError) as caught:
            await running.get_source()

    assert type(caught.value) is type(raised)
    assert (caught.value.message, caught.value.reason) == (raised.message, raised.reason)
    assert vars(caught.value) | {"reason": raised.reason} == vars(raised) | {"reason": raised.reason}


async def test_a_reason_unknown_here_arrives_in_the_class_of_its_code() -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        message = "thaw it first"
        raise SourceFrozen(message, source="cms")

    async with serving(sources(GetSource=fail)) as running:
        with pytest.raises(errors.PreconditionFailed) as caught:
            await running.get_source()

    assert (caught.value.reason, caught.value.metadata) == ("SOURCE_FROZEN", {"source": "cms"})


async def test_a_service_that_is_not_there_is_unavailable_and_found_once_it_is_back() -> None:
    async def get(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse(source=Source(id="cms"))

    async with serving(sources(GetSource=get)) as gone:
        port = gone.server.port
    async with admin_channel(f"127.0.0.1:{port}", name="ingest", project="acme", timeout_s=20) as channel:
        stub = SourceServiceStub(channel)
        with pytest.raises(errors.DependencyUnavailable) as unavailable:
            await stub.GetSource(GetSourceRequest())
        async with serving(sources(GetSource=get), grpc_port=port):
            reply = await stub.GetSource(GetSourceRequest(), wait_for_ready=True)

    assert unavailable.value.dependency == "ingest"
    assert reply.source.id == "cms"


async def test_unavailable_is_tried_again_with_the_same_request_id() -> None:
    async def create(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        ids.append(request.request_id)
        if len(ids) < 3:
            message = "not yet"
            raise errors.DependencyUnavailable(message, dependency="mongodb")
        return CreateSourceResponse(source=request.source)

    ids: list[str] = []
    async with serving(sources(CreateSource=create)) as running:
        reply = await SourceServiceStub(running.kit).CreateSource(CreateSourceRequest(source=Source(id="cms")))

    assert reply.source.id == "cms"
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert ids[0]


@pytest.mark.parametrize(
    "raised", [errors.Conflict("x"), errors.Internal("x"), errors.RateLimited("x", retry_after_s=1)], ids=repr
)
async def test_nothing_but_unavailable_is_tried_again(raised: errors.TidemillError) -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        calls.append(1)
        raise raised

    calls: list[int] = []
    async with serving(sources(GetSource=fail)) as running:
        with pytest.raises(type(raised)):
            await running.get_source()

    assert calls == [1]


@pytest.mark.parametrize(
    ("raised", "blame"),
    [
        (errors.InvalidInput("no"), Blame.CALLER),
        (errors.PreconditionFailed("no"), Blame.VARIANT),
        (errors.Overloaded("no", retry_after_s=1), Blame.SHARED),
        (errors.DependencyUnavailable("no", dependency="a host", blame=Blame.VARIANT), Blame.VARIANT),
        (errors.DependencyUnavailable("no", dependency="guard"), Blame.SHARED),
    ],
)
async def test_who_is_to_blame_goes_over_the_wire_and_is_no_metadata_behind_it(
    raised: errors.TidemillError, blame: Blame
) -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        raise raised

    async with serving(sources(GetSource=fail)) as running:
        with pytest.raises(errors.TidemillError) as caught:
            await running.get_source()

    assert (caught.value.blame, "blame" in caught.value.metadata) == (blame, False)


async def test_unavailable_is_not_tried_for_ever() -> None:
    async def fail(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        calls.append(1)
        message = "down"
        raise errors.DependencyUnavailable(message, dependency="mongodb")

    calls: list[int] = []
    async with serving(sources(GetSource=fail)) as running:
        with pytest.raises(errors.DependencyUnavailable):
            await running.get_source()

    assert len(calls) == 4


async def test_project_deadline_and_trace_go_on_to_the_next_server(lines: Lines) -> None:
    async def behind(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        seen.append((current_caller().project, remaining_s(60), telemetry.trace_id()))
        return GetSourceResponse()

    async def before(request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        seen.append((current_caller().project, remaining_s(60), telemetry.trace_id()))
        with acting_as(current_caller()):
            return await SourceServiceStub(onward).GetSource(request, timeout=30)

    seen: list[tuple[str, float, str]] = []
    async with (
        serving(sources(GetSource=behind)) as second,
        admin_channel(second.address) as onward,
        serving(sources(GetSource=before)) as first,
    ):
        await first.get_source(timeout=3)

    (project, first_s, trace), (next_project, next_s, next_trace) = seen
    assert (project, next_project) == ("acme", "acme")
    assert first_s < 3.1
    assert next_s < first_s + 0.1  # on the wire, deadlines are rounded
    assert trace == next_trace
    assert trace
    assert {line["trace_id"] for line in lines.named("rpc_finished")} == {trace}


async def test_a_call_has_a_deadline_though_the_caller_gave_none() -> None:
    async def wait(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        await asyncio.Event().wait()
        return GetSourceResponse()

    async with (
        serving(sources(GetSource=wait)) as running,
        admin_channel(running.address, project="acme", timeout_s=0.2) as channel,
    ):
        with pytest.raises(errors.DependencyTimedOut, match=r"did not answer within 0\.2 s"):
            await SourceServiceStub(channel).GetSource(GetSourceRequest())


async def test_a_hung_server_is_an_unavailable_dependency_but_not_to_a_caller_whose_own_time_is_over() -> None:
    async def hang(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        await asyncio.Event().wait()
        return GetSourceResponse()

    async with (
        serving(sources(GetSource=hang)) as hung,
        admin_channel(hung.address, name="ingest", project="acme") as onward,
    ):
        stub = SourceServiceStub(onward)
        bind_call(None, remaining_s=None)
        with pytest.raises(errors.DependencyTimedOut) as late:
            await stub.GetSource(GetSourceRequest(), timeout=0.2)
        bind_call(None, remaining_s=0.2)
        with pytest.raises(errors.DeadlineExceeded):
            await stub.GetSource(GetSourceRequest(), timeout=5)

    assert late.value.dependency == "ingest"


async def test_a_server_with_too_much_in_work_is_waited_for() -> None:
    async def hold(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        entered.append(1)
        await free.wait()
        return GetSourceResponse()

    async def call() -> None:
        await running.get_source()

    entered: list[int] = []
    free = asyncio.Event()
    waiting: dict[RetryPolicy, str] = {}
    limits = EngineLimits(attempts=1, first_pause_s=0.01, longest_pause_s=0.01)
    async with serving(sources(GetSource=hold), max_concurrent_rpcs=1) as running:
        first = asyncio.create_task(running.get_source())
        await eventually(lambda: entered)
        with pytest.raises(errors.RateLimited) as refused:
            await running.get_source()
        second = asyncio.create_task(
            RetryPolicy(limits, asyncio.Event(), waiting, Turns(1).of("acme")).until_done(call)
        )
        await eventually(lambda: waiting)
        free.set()
        await asyncio.gather(first, second)

    assert (refused.value.reason, refused.value.retry_after_s) == ("OVERLOADED", 1)
    assert list(waiting.values()) == []


async def test_a_channel_that_waits_sends_again_when_a_refusal_says() -> None:
    async def refuse_twice(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        begun.append(time.monotonic())
        if len(begun) < 3:
            message = "too many"
            raise errors.RateLimited(message, retry_after_s=0.05)
        return GetSourceResponse()

    begun: list[float] = []
    async with (
        serving(sources(GetSource=refuse_twice)) as running,
        admin_channel(f"127.0.0.1:{running.server.port}", project="acme", waits=True) as channel,
    ):
        await SourceServiceStub(channel).GetSource(GetSourceRequest())
        pauses = [later - earlier for earlier, later in pairwise(begun)]
        begun.clear()
        with pytest.raises(errors.TidemillError):
            await SourceServiceStub(channel).GetSource(GetSourceRequest(), timeout=0.04)

    assert [pause >= 0.05 for pause in pauses] == [True, True]
    assert len(begun) <= 1


async def test_a_refusal_of_another_kind_of_server_for_overload_can_pass() -> None:
    def foreign(details: str) -> grpc.aio.AioRpcError:
        nothing = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, details)

    overload = from_rpc_error(foreign("Concurrent RPC limit exceeded!"), dependency="vllm")
    size = from_rpc_error(foreign("CLIENT: Received message larger than max (5 vs. 4)"), dependency="vllm")

    assert isinstance(overload, errors.TRANSIENT)
    assert isinstance(size, errors.InvalidInput)


async def test_an_rpc_that_an_older_version_lacks_is_waited_for() -> None:
    async with serving(sources()) as older:
        new: Any = older.kit.unary_unary("/tidemill.ingest.v1.SourceService/New", request_serializer=bytes)
        with pytest.raises(errors.DependencyUnavailable, match="does not implement the call: it is an older version"):
            await new(b"")


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS], ids=lambda code: code.name
)
def test_what_no_service_answered_with_says_nothing_of_the_call(code: grpc.StatusCode) -> None:
    nothing = grpc.aio.Metadata()
    failure = grpc.aio.AioRpcError(code, nothing, nothing, "Received RST_STREAM with error code 2")

    error = from_rpc_error(failure, dependency="rag")

    assert isinstance(error, errors.DependencyUnavailable)
    assert (error.dependency, "RST_STREAM" in error.message) == ("rag", False)


async def test_a_call_goes_out_for_the_caller_that_it_is_given_and_for_none_that_surrounds_it() -> None:
    async def get(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse(source=Source(project=current_caller().project))

    async with (
        serving(sources(GetSource=get)) as running,
        admin_channel(running.address) as channel,
        open_channel(running.address) as without,
    ):
        stub = SourceServiceStub(channel)
        bind_call(Caller(project="surrounding"), remaining_s=None)
        with acting_as(Caller(project="umbrella", subject="tidemill-rag")):
            reply = await stub.GetSource(GetSourceRequest())
        with pytest.raises(NoCaller, match=r"SourceService/GetSource was called without a project"):
            await SourceServiceStub(without).GetSource(GetSourceRequest())
        with pytest.raises(errors.DependencyUnavailable, match="does not implement the call"):
            await StatusServiceStub(channel).GetStatus(GetStatusRequest())

    assert reply.source.project == "umbrella"


async def test_an_error_in_the_middle_of_a_stream_arrives_after_what_was_sent() -> None:
    async def stream(_request: GenerateStreamRequest, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        yield GenerateStreamResponse(sequence=1)
        message = "the engine went away"
        raise errors.PreconditionFailed(message)

    async with serving(inferences(GenerateStream=stream)) as running:
        responses = aiter(running.generate())
        assert (await anext(responses)).sequence == 1
        with pytest.raises(errors.PreconditionFailed, match="went away"):
            await anext(responses)


async def test_a_reader_who_leaves_a_stream_early_ends_it_on_the_server() -> None:
    async def stream(_request: GenerateStreamRequest, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        try:
            while True:
                yield GenerateStreamResponse()
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    ended = asyncio.Event()
    async with serving(inferences(GenerateStream=stream)) as running:
        async for _ in running.generate():
            break
        await asyncio.wait_for(ended.wait(), 5)


async def test_an_upload_that_is_refused_raises_the_kits_error() -> None:
    async def upload(requests: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        async for request in requests:
            if request.chunk == b"bad":
                raise errors.InvalidInput.of(errors.Violation(field="chunk", description="is bad"))
        return UploadDocumentResponse()

    async def chunks() -> AsyncIterator[UploadDocumentRequest]:
        for chunk in (b"good", b"bad", b"never read"):
            yield UploadDocumentRequest(chunk=chunk)

    async with serving(documents(UploadDocument=upload)) as running:
        with pytest.raises(errors.InvalidInput, match="is bad"):
            await running.documents.UploadDocument(chunks())


async def test_a_message_beyond_the_limit_can_never_succeed() -> None:
    async def get(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse()

    async with serving(sources(GetSource=get), max_message_bytes=64 * 1024) as running:
        with pytest.raises(errors.InvalidInput, match="larger than max"):
            await SourceServiceStub(running.kit).GetSource(GetSourceRequest(id="x" * 100_000))
