import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn, cast

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY

from libs.kit.tests.grpc.support import (
    ACME,
    Context,
    Lines,
    caller_as_source,
    documents,
    inferences,
    serving,
    settings,
    sources,
    wait_for_ever,
)
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
from tidemill_core.errors import InvalidInput, NotFound, RateLimited, Violation, digest_of
from tidemill_kit.grpc import requests
from tidemill_kit.grpc.server import GrpcServer, UndeclaredRpcs, current_caller, remaining_s, request_of
from tidemill_kit.runtime import telemetry
from tidemill_testkit.access import access_of
from tidemill_testkit.polling import eventually


def details_of(error: grpc.aio.AioRpcError) -> list[any_pb2.Any]:
    packed = error.trailing_metadata()["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    return list(status_pb2.Status.FromString(packed).details)


@pytest.mark.parametrize("project", [None, "", "Acme", "-acme", "acme-", "a" * 64, "ac me"])
async def test_an_rpc_without_a_usable_project_is_refused_and_answered_with_what_to_send(project: str | None) -> None:
    metadata = tuple(each for each in ACME if each[0] != "tidemill-project")
    metadata += () if project is None else (("tidemill-project", project),)
    async with serving(sources(GetSource=caller_as_source)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.get_source_plainly(metadata=metadata)

    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert 'metadata "tidemill-project"' in (refused.value.details() or "")


async def test_the_project_reaches_handlers_of_every_arity() -> None:
    async def stream(_request: GenerateStreamRequest, _context: Context) -> AsyncIterator[GenerateStreamResponse]:
        seen.append(current_caller().project)
        yield GenerateStreamResponse(sequence=1)

    async def upload(requests: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        seen.append(current_caller().project)
        seen.append(b"".join([request.chunk async for request in requests]).decode())
        return UploadDocumentResponse()

    async def chunks() -> AsyncIterator[UploadDocumentRequest]:
        for chunk in (b"in ", b"parts"):
            yield UploadDocumentRequest(chunk=chunk)

    seen: list[str] = []
    async with serving(
        sources(GetSource=caller_as_source), documents(UploadDocument=upload), inferences(GenerateStream=stream)
    ) as running:
        assert (await running.get_source()).source.project == "acme"
        assert [response.sequence async for response in running.generate()] == [1]
        await running.documents.UploadDocument(chunks())

    assert seen == ["acme", "acme", "in parts"]


async def test_health_and_reflection_need_no_project() -> None:
    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async with serving(sources()) as running:
        health: Any = health_pb2_grpc.HealthStub(running.raw)
        readiness = await health.Check(health_pb2.HealthCheckRequest())
        liveness = await health.Check(health_pb2.HealthCheckRequest(service="liveness"))
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", running.raw))
        (listed,) = [reply async for reply in reflection.ServerReflectionInfo(ask())]

    assert readiness.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert liveness.status == health_pb2.HealthCheckResponse.SERVING
    assert "tidemill.ingest.v1.SourceService" in {service.name for service in listed.list_services_response.service}


async def test_an_unknown_error_is_hidden_behind_its_trace_id_and_logged_once_without_payload(lines: Lines) -> None:
    async def fail(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        text = request.source.events
        raise RuntimeError(text)

    async with serving(sources(CreateSource=fail)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await SourceServiceStub(running.raw).CreateSource(
                CreateSourceRequest(source=Source(id="cms", events="my-private-words")), metadata=ACME
            )

    (stack,) = lines.named("rpc_failed")
    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert failed.value.details() == f"internal error; the service's log has it under trace {stack['trace_id']}"
    assert stack["exception"].endswith("builtins.RuntimeError")
    assert lines.text.count("builtins.RuntimeError") == 1
    assert "my-private-words" not in lines.text


async def test_a_panic_of_native_code_is_answered_logged_and_counted_as_an_internal_error(lines: Lines) -> None:
    class PanicException(BaseException):
        pass

    async def panic(_request: GetSourceRequest, _context: Context) -> NoReturn:
        raise PanicException

    async with serving(sources(GetSource=panic)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.get_source_plainly(timeout=30)

    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert "PanicException" in lines.named("rpc_failed")[0]["exception"]
    assert lines.named("rpc_finished")[0]["code"] == "INTERNAL"


async def test_an_error_of_the_tree_reports_reason_fields_and_when_to_come_again() -> None:
    async def refuse(request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        if request.id == "busy":
            message = "come again"
            raise RateLimited(message, retry_after_s=1.5, limit=3)
        raise InvalidInput.of(Violation(field="id", description="is odd"), Violation(field="x", description="is not y"))

    async with serving(sources(GetSource=refuse)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as invalid:
            await SourceServiceStub(running.raw).GetSource(GetSourceRequest(id="odd"), metadata=ACME)
        with pytest.raises(grpc.aio.AioRpcError) as limited:
            await SourceServiceStub(running.raw).GetSource(GetSourceRequest(id="busy"), metadata=ACME)

    (why, fields), (what, pause) = details_of(invalid.value), details_of(limited.value)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert why.Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_INPUT", "tidemill")
    assert fields.Unpack(bad_request)
    assert [violation.field for violation in bad_request.field_violations] == ["id", "x"]
    assert what.Unpack(info)
    assert dict(info.metadata) == {"limit": "3", "blame": "capacity"}
    retry = error_details_pb2.RetryInfo()
    assert pause.Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


async def test_a_handler_that_meets_a_cancelled_task_answers_instead_of_hanging(lines: Lines) -> None:
    async def meet(_request: GetSourceRequest, _context: Context) -> NoReturn:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task
        raise AssertionError

    async with serving(sources(GetSource=meet)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.get_source_plainly(timeout=3)

    assert failed.value.code() == grpc.StatusCode.INTERNAL
    assert "CancelledError" in lines.named("rpc_failed")[0]["exception"]


async def test_a_handler_stops_when_its_client_cancels(lines: Lines) -> None:
    async def wait(_request: GetSourceRequest, _context: Context) -> NoReturn:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    entered, left = asyncio.Event(), asyncio.Event()
    async with serving(sources(GetSource=wait)) as running:
        call = asyncio.create_task(running.get_source())
        await asyncio.wait_for(entered.wait(), 5)
        call.cancel()
        await asyncio.wait_for(left.wait(), 5)
        await eventually(lambda: lines.named("rpc_finished"))

    assert [line["code"] for line in lines.named("rpc_finished")] == ["CANCELLED"]


async def test_a_handler_is_cancelled_when_the_deadline_passes(lines: Lines) -> None:
    async with serving(sources(GetSource=wait_for_ever)) as running:
        await running.raw.channel_ready()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await running.get_source_plainly(timeout=0.5)
        await eventually(lambda: lines.named("rpc_finished"))

    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    (line,) = lines.named("rpc_finished")
    assert line["code"] in {"DEADLINE_EXCEEDED", "CANCELLED"}  # whichever side's clock is first


async def test_a_handler_knows_how_much_time_is_left() -> None:
    async def report(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        left.append((remaining_s(60), remaining_s(0.5)))
        return GetSourceResponse()

    left: list[tuple[float, float]] = []
    async with serving(sources(GetSource=report)) as running:
        await running.get_source_plainly(timeout=5)
        await running.get_source_plainly()

    assert 4 < left[0][0] < 5.1  # on the wire, deadlines are rounded
    assert left[0][1] == 0.5
    assert left[1] == (60, 0.5)


async def test_a_line_reports_method_code_project_request_and_trace(lines: Lines) -> None:
    async def create(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        request_of(request)
        return CreateSourceResponse(source=request.source)

    before = _finished("/tidemill.ingest.v1.SourceService/CreateSource")
    async with serving(sources(CreateSource=create)) as running:
        with telemetry.span("caller", kind=SpanKind.CLIENT):
            trace_id = telemetry.trace_id()
            await SourceServiceStub(running.kit).CreateSource(CreateSourceRequest(request_id="r-1"))

    (line,) = lines.named("rpc_finished")
    assert line.pop("duration_s") >= 0
    assert line.pop("timestamp")
    assert line == {
        "event": "rpc_finished",
        "level": "info",
        "service": "probe",
        "method": "/tidemill.ingest.v1.SourceService/CreateSource",
        "code": "OK",
        "audit": True,
        "project": "acme",
        "request_id": digest_of("r-1"),
        "trace_id": trace_id,
    }
    assert _finished("/tidemill.ingest.v1.SourceService/CreateSource") == before + 1


async def test_the_digest_of_a_large_request_is_there_before_its_handler_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = list[str]()

    async def create(request: CreateSourceRequest, _context: Context) -> CreateSourceResponse:
        with monkeypatch.context() as patched:
            patched.setattr(requests, "_digest_of", lambda _message: "")
            digests.append(request_of(request).digest)
        copy = CreateSourceRequest()
        copy.CopyFrom(request)
        digests.append(request_of(copy).digest)
        return CreateSourceResponse()

    async with serving(sources(CreateSource=create)) as running:
        large = CreateSourceRequest(request_id="a", source=Source(id="x" * 100_000))
        await SourceServiceStub(running.kit).CreateSource(large)

    assert digests[0] == digests[1]


async def test_a_reply_above_the_limit_is_an_error_that_says_so_in_the_log_too(lines: Lines) -> None:
    async def get(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse(source=Source(id="x" * 70_000))

    async with serving(sources(GetSource=get), max_message_bytes=65_536) as running:
        with pytest.raises(InvalidInput, match="the reply has 70008 bytes, above the limit of 65536") as refused:
            await running.get_source()

    assert refused.value.reason == "REPLY_TOO_LARGE"
    (line,) = lines.named("rpc_finished")
    assert (line["code"], line["reason"]) == ("INVALID_ARGUMENT", "REPLY_TOO_LARGE")


def _finished(method: str) -> float:
    return REGISTRY.get_sample_value("tidemill_rpc_total", {"method": method, "code": "OK"}) or 0.0


async def test_a_code_that_the_handler_chose_itself_is_kept(lines: Lines) -> None:
    async def abort(_request: GetSourceRequest, context: Context) -> NoReturn:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far")

    async with serving(sources(GetSource=abort)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as aborted:
            await running.get_source_plainly()
        await eventually(lambda: lines.named("rpc_finished"))  # the client is answered before the edge is done

    assert (aborted.value.code(), aborted.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too far")
    assert [line["code"] for line in lines.named("rpc_finished")] == ["OUT_OF_RANGE"]


def test_a_service_with_an_rpc_that_declares_nothing_is_not_served() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="undeclared.proto", package="undeclared", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Bare")
    service.method.add(name="Do", input_type=".undeclared.Nothing", output_type=".undeclared.Nothing")
    descriptor_pool.Default().Add(file)

    def register(_servicer: object, server: grpc.aio.Server) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Do": grpc.unary_unary_rpc_method_handler(wait_for_ever)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("undeclared.Bare", handlers),))

    with pytest.raises(UndeclaredRpcs, match=r"required_role.*audit.*/undeclared\.Bare/Do"):
        GrpcServer(settings(), [sources(), (register, object())], access=access_of())


async def test_what_is_served_beside_the_contract_is_refused() -> None:
    async def extra(_request: bytes, _context: Context) -> bytes:
        return b"answered"

    def register(_servicer: object, server: grpc.aio.Server) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Extra": grpc.unary_unary_rpc_method_handler(extra)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("tidemill.ingest.v1.SourceService", handlers),)
        )

    async with serving((register, object())) as running:
        call: Any = running.raw.unary_unary("/tidemill.ingest.v1.SourceService/Extra")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=ACME)

    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x7f", bytes.fromhex("0b" * 200)], ids=repr)
async def test_bytes_that_are_no_message_are_refused_and_counted(raw: bytes, lines: Lines) -> None:
    method = "/tidemill.ingest.v1.SourceService/CreateSource"
    async with serving(sources()) as running:
        call: Any = running.raw.unary_unary(method)  # without serializer: bytes as they are
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(raw, metadata=ACME)

    (line,) = lines.named("rpc_finished")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "python" not in str(refused.value.details())
    assert (line["code"], line["reason"]) == ("INVALID_ARGUMENT", "UNREADABLE_MESSAGE")


async def test_a_project_that_is_named_twice_is_refused() -> None:
    async with serving(sources(GetSource=caller_as_source)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.get_source_plainly(metadata=(*ACME, ("tidemill-project", "umbrella")))

    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_an_error_about_an_endless_id_still_arrives_as_what_it_is() -> None:
    async def missing(request: GetSourceRequest, _context: Context) -> NoReturn:
        message = f"there is no source {request.id}"
        raise NotFound(message, id=request.id, **{f"also_{number}": request.id for number in range(9)})

    async with serving(sources(GetSource=missing)) as running:
        with pytest.raises(NotFound):
            await SourceServiceStub(running.kit).GetSource(GetSourceRequest(id="x" * 100_000))
