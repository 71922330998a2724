"""What one client or project may take of an edge, and what a stopping server does with those who are there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from libs.kit.tests.grpc.support import (
    ACME,
    Context,
    Lines,
    Servicer,
    caller_as_source,
    documents,
    inferences,
    serving,
    settings,
    sources,
    wait_for_ever,
)
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateStreamRequest, GenerateStreamResponse
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.ingest.v1.document_service_pb2 import UploadDocumentRequest, UploadDocumentResponse
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill.ingest.v1.source_service_pb2 import (
    GetSourceRequest,
    GetSourceResponse,
)
from tidemill.monitor.v1.access_service_pb2 import ExchangeTokenRequest
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub, add_AccessServiceServicer_to_server
from tidemill_core.errors import DeadlineExceeded
from tidemill_kit.grpc.server import GrpcServer, current_caller
from tidemill_kit.runtime.settings import PortTaken
from tidemill_testkit.access import access_of, admin_headers
from tidemill_testkit.polling import eventually


async def test_a_server_that_stops_lets_a_stream_end_and_takes_nothing_new() -> None:
    async def count(_request: GenerateStreamRequest, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        yield GenerateStreamResponse(sequence=1)
        await go_on.wait()
        yield GenerateStreamResponse(sequence=2)

    go_on = asyncio.Event()
    async with serving(inferences(GenerateStream=count), sources(GetSource=caller_as_source)) as running:
        stream = aiter(InferenceServiceStub(running.raw).GenerateStream(GenerateStreamRequest(), metadata=ACME))
        assert (await anext(stream)).sequence == 1
        stopping = asyncio.create_task(running.server.stop(5))
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError):
            await running.get_source_plainly(timeout=2)
        assert not stopping.done()
        go_on.set()
        assert [response.sequence async for response in stream] == [2]
        await asyncio.wait_for(stopping, 2)


async def test_a_server_that_stops_does_not_wait_for_those_who_watch_its_health() -> None:
    async with serving(sources()) as running:
        health: Any = health_pb2_grpc.HealthStub(running.raw)
        watch = aiter(health.Watch(health_pb2.HealthCheckRequest(service="liveness")))
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.wait_for(running.server.stop(30), 5)


async def test_a_handler_that_outlives_the_grace_is_cancelled() -> None:
    async with serving(sources(GetSource=wait_for_ever)) as running:
        call = asyncio.create_task(running.get_source_plainly())
        await asyncio.wait({call}, timeout=0.2)
        await asyncio.wait_for(running.server.stop(0.2), 5)
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(call, 5)


async def test_a_port_is_not_shared_with_another_process() -> None:
    async with serving(sources()) as running:
        with pytest.raises(PortTaken):
            await GrpcServer(settings(grpc_port=running.server.port), [], access=access_of()).start()


async def test_one_project_has_half_of_the_places_and_probes_need_none() -> None:
    async def hold(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        held.append(current_caller().project)
        await free.wait()
        return GetSourceResponse()

    held: list[str] = []
    free = asyncio.Event()
    other = tuple(admin_headers("umbrella").items())
    third = tuple(admin_headers("initech").items())
    async with serving(sources(GetSource=hold), max_concurrent_rpcs=4) as running:
        calls = [asyncio.create_task(running.get_source_plainly(metadata=of)) for of in (ACME, ACME, other)]
        await eventually(lambda: len(held) == 3)
        with pytest.raises(grpc.aio.AioRpcError, match="2 RPCs of project acme are in work"):
            await running.get_source_plainly()
        calls.append(asyncio.create_task(running.get_source_plainly(metadata=other)))
        await eventually(lambda: len(held) == 4)
        with pytest.raises(grpc.aio.AioRpcError, match="4 RPCs are in work"):
            await running.get_source_plainly(metadata=third)
        health: Any = health_pb2_grpc.HealthStub(running.raw)
        alive = await health.Check(health_pb2.HealthCheckRequest(service="liveness"))
        free.set()
        await asyncio.gather(*calls)
        await running.get_source_plainly()

    assert alive.status == health_pb2.HealthCheckResponse.SERVING
    assert sorted(held) == ["acme", "acme", "acme", "umbrella", "umbrella"]


async def test_open_health_watches_are_few_and_take_no_place_of_others(lines: Lines) -> None:
    async with serving(sources(GetSource=caller_as_source), max_concurrent_rpcs=1, max_public_streams=2) as running:
        health: Any = health_pb2_grpc.HealthStub(running.raw)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service="liveness")) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Watch(health_pb2.HealthCheckRequest()).read()
        await running.get_source_plainly()
        watches[0].cancel()
        await eventually(lambda: any(line["code"] == "CANCELLED" for line in lines.named("rpc_finished")))
        await health.Watch(health_pb2.HealthCheckRequest()).read()

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_logins_take_no_more_places_than_a_project() -> None:
    async def hold(request: ExchangeTokenRequest, context: Context) -> NoReturn:
        held.append(request.project)
        await wait_for_ever(request, context)

    login, held = ExchangeTokenRequest(project="acme"), list[str]()
    access = (add_AccessServiceServicer_to_server, Servicer(ExchangeToken=hold))
    async with serving(access, sources(GetSource=caller_as_source), max_concurrent_rpcs=4) as running:
        stub = AccessServiceStub(running.raw)
        waiting = [stub.ExchangeToken(login) for _ in range(2)]
        await eventually(lambda: len(held) == 2)
        with pytest.raises(grpc.aio.AioRpcError, match="2 RPCs without a project are in work"):
            await stub.ExchangeToken(login, timeout=5)
        await running.get_source_plainly()
        for each in waiting:
            each.cancel()


async def test_reflection_can_be_turned_off() -> None:
    async with serving(sources(), grpc_reflection=False) as running:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", running.raw))
        # No request is written: one that meets the server's refusal would be an INTERNAL of grpc.aio's own.
        status = await reflection.ServerReflectionInfo().code()

    assert status == grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_whose_client_falls_silent_is_ended() -> None:
    async def upload(requests: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        async for _ in requests:
            pass
        return UploadDocumentResponse()

    async def silent() -> AsyncIterator[UploadDocumentRequest]:
        yield UploadDocumentRequest(chunk=b"begun")
        await asyncio.Event().wait()

    async with serving(documents(UploadDocument=upload), stream_idle_s=0.1) as running:
        with pytest.raises(DeadlineExceeded, match=r"no message was received on the stream for 0\.1 s"):
            await running.documents.UploadDocument(silent())


async def test_a_stream_that_breaks_off_is_never_taken_for_one_that_ended() -> None:
    begun, ended, whole = 0, 0, 0

    async def upload(requests: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        nonlocal begun, ended, whole
        begun += 1
        try:
            async for _ in requests:
                pass
            whole += 1
        finally:
            ended += 1
        return UploadDocumentResponse()

    async def breaking_off() -> AsyncIterator[UploadDocumentRequest]:
        yield UploadDocumentRequest(chunk=b"half of it")
        await asyncio.Event().wait()

    async with serving(documents(UploadDocument=upload)) as running:
        stub = DocumentServiceStub(running.raw)
        calls = [stub.UploadDocument(breaking_off(), metadata=ACME) for _ in range(60)]
        await eventually(lambda: begun == 60)
        for call in calls:
            call.cancel()
        await eventually(lambda: ended == 60)

    assert whole == 0


async def test_a_stream_whose_client_stops_reading_is_ended(lines: Lines) -> None:
    async def flood(_request: GenerateStreamRequest, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        while True:
            yield large

    large = GenerateStreamResponse(finished=Inference(end_user="x" * 1_000_000))
    async with serving(inferences(GenerateStream=flood), stream_idle_s=0.1) as running:
        stream = InferenceServiceStub(running.raw).GenerateStream(GenerateStreamRequest(), metadata=ACME)
        await anext(aiter(stream))
        await eventually(lambda: lines.named("rpc_finished"))
        stream.cancel()

    (line,) = lines.named("rpc_finished")
    assert line["code"] == "DEADLINE_EXCEEDED"


async def test_a_call_without_a_deadline_gets_the_longest_one() -> None:
    async with serving(sources(GetSource=wait_for_ever), max_deadline_s=0.1) as running:
        for timeout in (None, 30):
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await running.get_source_plainly(timeout=timeout)
            assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
