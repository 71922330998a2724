"""A call without a connection has the outcome of one over it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import pytest

from libs.kit.tests.grpc.support import (
    Context,
    caller_as_source,
    documents,
    inferences,
    settings,
    sources,
    wait_for_ever,
)
from tidemill.inference.v1.inference_service_pb2 import GenerateStreamRequest, GenerateStreamResponse
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.ingest.v1.document_pb2 import Document
from tidemill.ingest.v1.document_service_pb2 import UploadDocumentRequest, UploadDocumentResponse
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, InvalidInput, TidemillError
from tidemill_core.grpc.context import acting_caller
from tidemill_core.grpc.status import to_status
from tidemill_kit.grpc.server import GrpcServer, Registration
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer

Serving = Callable[..., AbstractAsyncContextManager[grpc.aio.Channel]]
ASKED = GetSourceRequest(id="cms")


@asynccontextmanager
async def by_connection(*servicers: Registration) -> AsyncIterator[grpc.aio.Channel]:
    server = GrpcServer(settings(), servicers, access=access_of(), audit=RecordedCalls())
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", name="probe", project="acme") as channel:
        yield channel
    await server.stop(0)


@asynccontextmanager
async def directly(*servicers: Registration) -> AsyncIterator[grpc.aio.Channel]:
    server = DirectServer(settings(), servicers, access=access_of(), audit=RecordedCalls())
    with server.reachable():
        async with admin_channel(f"127.0.0.1:{server.port}", name="probe", project="acme") as channel:
            yield channel


@pytest.fixture(params=[by_connection, directly])
def serving(request: pytest.FixtureRequest) -> Serving:
    found: Serving = request.param
    return found


async def said(*numbers: int, error: TidemillError | None = None) -> AsyncIterator[GenerateStreamResponse]:
    for number in numbers:
        yield GenerateStreamResponse(sequence=number)
    if error:
        raise error


async def kept(call: AsyncIterable[GenerateStreamResponse], found: list[int]) -> None:
    async for each in call:
        found.append(each.sequence)  # noqa: PERF401 - also those before an error


async def test_a_handler_gets_the_caller_and_nothing_of_its_context(serving: Serving) -> None:
    async def get(request: GetSourceRequest, context: Context) -> object:
        assert acting_caller() is None
        assert 0 < (context.time_remaining() or 0) <= 5
        return await caller_as_source(request, context)

    async with serving(sources(GetSource=get)) as channel:
        found = await SourceServiceStub(channel).GetSource(ASKED, timeout=5)
    assert (found.source.id, found.source.project) == ("cms", "acme")


async def test_what_the_handler_keeps_is_no_message_of_the_caller_s(serving: Serving) -> None:
    kept = list[GetSourceRequest]()

    async def get(request: GetSourceRequest, context: Context) -> object:
        kept.append(request)
        return await caller_as_source(request, context)

    async with serving(sources(GetSource=get)) as channel:
        sent = GetSourceRequest(id="cms")
        await SourceServiceStub(channel).GetSource(sent)
    sent.id = "changed"
    assert kept[0].id == "cms"


async def test_an_error_arrives_with_its_reason_and_fields(serving: Serving) -> None:
    async def get(_request: object, _context: Context) -> None:
        raise InvalidInput.at(field="id", text="is odd")

    async with serving(sources(GetSource=get)) as channel:
        with pytest.raises(InvalidInput, match="is odd") as raised:
            await SourceServiceStub(channel).GetSource(ASKED)
    assert [each.field for each in raised.value.violations] == ["id"]
    assert raised.value.reason == InvalidInput.reason


async def test_a_call_that_is_aborted_or_not_served_says_so(serving: Serving) -> None:
    async def get(_request: object, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")

    async with serving(sources(GetSource=get)) as channel:
        with pytest.raises(DependencyUnavailable, match="does not implement"):
            await SourceServiceStub(channel).GetSource(ASKED)
        with pytest.raises(DependencyUnavailable, match="does not implement"):
            async for _ in InferenceServiceStub(channel).GenerateStream(GenerateStreamRequest()):
                pass


async def test_a_handler_may_abort_with_a_status_of_the_kit_s_errors(serving: Serving) -> None:
    async def get(_request: object, context: Context) -> None:
        await context.abort_with_status(to_status(InvalidInput.at(field="id", text="is odd")))

    async with serving(sources(GetSource=get)) as channel:
        with pytest.raises(InvalidInput) as raised:
            await SourceServiceStub(channel).GetSource(ASKED)
    assert [each.field for each in raised.value.violations] == ["id"]


async def test_a_request_has_a_limit(serving: Serving) -> None:
    large = GetSourceRequest(id="x" * settings().max_message_bytes)
    async with serving(sources(GetSource=caller_as_source)) as channel:
        with pytest.raises(InvalidInput, match="larger than max"):
            await SourceServiceStub(channel).GetSource(large)


async def test_a_credential_is_needed(serving: Serving) -> None:
    async with serving(sources(GetSource=caller_as_source)) as channel:
        with pytest.raises(TidemillError) as raised:
            await SourceServiceStub(channel).GetSource(ASKED, metadata=(("authorization", "Bearer nonsense"),))
    assert raised.value.reason == "CREDENTIAL_INVALID"


async def test_a_stream_arrives_in_order_and_with_the_error_that_ends_it(serving: Serving) -> None:
    error = InvalidInput("no more")
    found = list[int]()
    async with serving(inferences(GenerateStream=lambda *_: said(1, 2, 3, error=error))) as channel:
        call = InferenceServiceStub(channel).GenerateStream(GenerateStreamRequest())
        with pytest.raises(InvalidInput, match="no more"):
            await kept(call, found)
    assert found == [1, 2, 3]


async def test_a_reader_who_leaves_ends_the_handler(serving: Serving) -> None:
    ended = asyncio.Event()

    async def generate(*_: object) -> AsyncIterator[GenerateStreamResponse]:
        try:
            while True:
                async for each in said(1):
                    yield each
        finally:
            ended.set()

    async with serving(inferences(GenerateStream=generate)) as channel:
        call = InferenceServiceStub(channel).GenerateStream(GenerateStreamRequest())
        async for _ in call:
            break
        call.cancel()
        async with asyncio.timeout(10):
            await ended.wait()


async def test_all_that_is_sent_in_a_stream_arrives(serving: Serving) -> None:
    async def upload(requests: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        parts = [each.chunk async for each in requests]
        return UploadDocumentResponse(document=Document(id=str(len(b"".join(parts)))))

    parts = [UploadDocumentRequest(chunk=b"abc"), UploadDocumentRequest(chunk=b"de")]
    async with serving(documents(UploadDocument=upload)) as channel:
        answered = await DocumentServiceStub(channel).UploadDocument(iter(parts))
    assert answered.document.id == "5"


async def test_a_call_ends_at_its_deadline_and_with_who_waits_for_it(serving: Serving) -> None:
    cancelled = asyncio.Event()

    async def get(request: object, context: Context) -> None:
        try:
            await wait_for_ever(request, context)
        finally:
            cancelled.set()

    async with serving(sources(GetSource=get)) as channel:
        with pytest.raises((DeadlineExceeded, DependencyUnavailable)):
            await SourceServiceStub(channel).GetSource(ASKED, timeout=0.1)
        cancelled.clear()
        waiting = asyncio.ensure_future(SourceServiceStub(channel).GetSource(ASKED))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(10):
            await cancelled.wait()
