"""A call that runs ends when its credential is revoked or expires, of either arity, and no other does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from libs.kit.tests.access.rpcs import bearing
from libs.kit.tests.access.support import revocation
from libs.kit.tests.grpc.support import Context, inferences, settings, sources, wait_for_ever
from tidemill.inference.v1.inference_service_pb2 import GenerateStreamRequest, GenerateStreamResponse
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.audit import RecordedCalls

WITHIN_S = 5.0
LEEWAY_S = 30.0
"""Of an authenticator whose settings say nothing else."""


async def stream(_request: object, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
    yield GenerateStreamResponse()
    await asyncio.Event().wait()


@asynccontextmanager
async def serving(issuer: TestIssuer, revocations: Revocations) -> AsyncIterator[grpc.aio.Channel]:
    servicers = [inferences(GenerateStream=stream), sources(GetSource=wait_for_ever)]
    server = GrpcServer(settings(), servicers, access=access_of(issuer, revocations=revocations), audit=RecordedCalls())
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    await server.stop(0)


@pytest.mark.parametrize(
    ("kind", "identifier"), [("KEY", "the-key"), ("SUBJECT", "user:ada"), ("PROJECT", "")], ids=str
)
async def test_a_stream_ends_when_its_credential_is_revoked(tmp_path: Path, kind: str, identifier: str) -> None:
    issuer, revocations = TestIssuer(tmp_path), Revocations()
    async with serving(issuer, revocations) as channel:
        start = InferenceServiceStub(channel).GenerateStream
        other = issuer.token("globex", "admin", subject="user:ada")
        ends, stays = [
            start(GenerateStreamRequest(), metadata=bearing(token), timeout=30)
            for token in (issuer.token("acme", "admin", subject="user:ada", id="the-key"), other)
        ]
        assert [await call.read() for call in (ends, stays)] == [GenerateStreamResponse()] * 2

        revocations.apply(revocation(kind, "acme", identifier))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async with asyncio.timeout(WITHIN_S):
                await ends.read()

        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "was revoked" in (ended.value.details() or "")
        assert not stays.done()


async def test_a_unary_call_ends_too_and_one_that_is_cancelled_is_no_revoked_one(tmp_path: Path) -> None:
    issuer, revocations = TestIssuer(tmp_path), Revocations()
    async with serving(issuer, revocations) as channel:
        get = SourceServiceStub(channel).GetSource
        first, second = [
            get(GetSourceRequest(), metadata=bearing(issuer.token("acme", "admin", id=name)), timeout=30)
            for name in ("first", "second")
        ]
        await asyncio.sleep(0.1)
        second.cancel()
        revocations.apply(revocation("KEY", "acme", "first"))

        async with asyncio.timeout(WITHIN_S):
            assert await first.code() == grpc.StatusCode.UNAUTHENTICATED
        assert second.cancelled()


async def test_calls_end_when_their_credential_expires_and_the_leeway_is_over(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    async with serving(issuer, Revocations()) as channel:
        soon, later = [
            bearing(issuer.token("acme", "admin", expire_time=time.time() + left_s)) for left_s in (2 - LEEWAY_S, 10)
        ]
        stays, ends = [
            InferenceServiceStub(channel).GenerateStream(GenerateStreamRequest(), metadata=given, timeout=30)
            for given in (later, soon)
        ]
        unary = SourceServiceStub(channel).GetSource(GetSourceRequest(), metadata=soon, timeout=30)
        assert [await call.read() for call in (ends, stays)] == [GenerateStreamResponse()] * 2

        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async with asyncio.timeout(WITHIN_S):
                await ends.read()

        assert (ended.value.code(), await unary.code()) == (grpc.StatusCode.UNAUTHENTICATED,) * 2
        assert "has expired" in (ended.value.details() or "")
        assert not stays.done()


async def test_a_stream_that_is_revoked_while_its_first_message_is_written_ends_as_one(tmp_path: Path) -> None:
    issuer, revocations = TestIssuer(tmp_path), Revocations()

    async def revoked(_request: object, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        asyncio.get_running_loop().call_soon(revocations.apply, revocation("KEY", "acme", "the-key"))
        yield GenerateStreamResponse()
        await asyncio.Event().wait()

    servicers = [inferences(GenerateStream=revoked)]
    server = GrpcServer(settings(), servicers, access=access_of(issuer, revocations=revocations), audit=RecordedCalls())
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        given = bearing(issuer.token("acme", "admin", id="the-key"))
        call = InferenceServiceStub(channel).GenerateStream(GenerateStreamRequest(), metadata=given, timeout=8)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            _ = [each async for each in call]

    await server.stop(0)
    assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
