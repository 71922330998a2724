"""Requests that repeat a field more often than a service takes."""

import random
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from libs.kit.tests.grpc.support import ACME, Context, inferences, serving
from tidemill.evaluator.v1.suite_pb2 import Suite
from tidemill.evaluator.v1.suite_service_pb2 import CreateSuiteRequest
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateResponse
from tidemill.ingest.v1.document_service_pb2 import CreateDocumentRequest
from tidemill_kit.grpc.request_items import TooManyItems, check_items
from tidemill_testkit.processor_time import processor_time

MIB = 1024 * 1024


def number(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(high) if high else bytes([low])


def part(field: int, content: bytes) -> bytes:
    return number(field << 3 | 2) + number(len(content)) + content


CASE = Suite.DESCRIPTOR.fields_by_name["cases"].number
SUITE = CreateSuiteRequest.DESCRIPTOR.fields_by_name["suite"].number
LABELS = GenerateRequest.DESCRIPTOR.fields_by_name["labels"].number
GROUP = number(1000 << 3 | 3) + number(1000 << 3 | 4)
DEPLOYMENT = GenerateRequest.DESCRIPTOR.fields_by_name["deployment"].number

WORST: dict[str, tuple[Descriptor, bytes]] = {
    "items of a part": (CreateSuiteRequest.DESCRIPTOR, part(SUITE, part(CASE, b"") * (4 * MIB))),
    "items with one key": (GenerateRequest.DESCRIPTOR, part(LABELS, b"") * (4 * MIB)),
    "one value over and over": (GenerateRequest.DESCRIPTOR, part(DEPLOYMENT, b"") * (4 * MIB)),
    "unknown fields": (GenerateRequest.DESCRIPTOR, part(1000, b"") * (4 * MIB)),
    "unknown groups": (
        GenerateRequest.DESCRIPTOR,
        (number(1000 << 3 | 3) + number(1000 << 3 | 4)) * (4 * MIB),
    ),
    "unknown numbers": (GenerateRequest.DESCRIPTOR, (number(1000 << 3) + b"\0") * (4 * MIB)),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", WORST)
def test_a_request_of_too_many_items_is_refused_without_reading_them(name: str) -> None:
    kind, raw = WORST[name]

    with processor_time() as spent, pytest.raises(TooManyItems, match="25000 items"):
        check_items(raw, kind, limit=25_000)

    assert spent.seconds < 0.8  # some 0.03 s; parsing and mapping them takes 4 s and more


def test_what_is_within_the_limit_passes_whatever_is_in_it() -> None:
    suite = CreateSuiteRequest(request_id="one")
    for each in range(2000):
        case = suite.suite.cases.add(id=str(each), question="why?" * 50, reference="because " * 20)
        case.labels["topic"] = "x" * 20
        case.variables.update({"list": [1.5, True, {"deep": None}], "text": "é" * 50})
        case.earlier.add().parts.add(text="before")
    document = CreateDocumentRequest()
    document.content = b"x" * (4 * MIB)

    for message in (suite, document):
        check_items(message.SerializeToString(), message.DESCRIPTOR, limit=25_000)


def test_items_at_any_depth_are_counted_exactly() -> None:
    suite = CreateSuiteRequest()
    for _ in range(100):
        suite.suite.cases.add().principals.extend([""] * 9)
    raw = suite.SerializeToString()

    check_items(raw, suite.DESCRIPTOR, limit=1000)
    with pytest.raises(TooManyItems):
        check_items(raw, suite.DESCRIPTOR, limit=999)


def test_bytes_that_are_no_message_are_refused_as_protobuf_refuses_them() -> None:
    whole = GenerateRequest(deployment="docs", principals=["a", "b"] * 200, labels={"a": "b"}).SerializeToString()
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(2000):
        raw = bytearray(whole)
        raw[chance.randrange(len(raw))] = chance.randrange(256)
        broken = bytes(raw[: chance.randrange(1, len(raw))])
        if _refused(broken):
            with pytest.raises(DecodeError):
                GenerateRequest.FromString(broken)


def _refused(raw: bytes) -> bool:
    try:
        check_items(raw, GenerateRequest.DESCRIPTOR, limit=1)
    except TooManyItems:
        return False
    except DecodeError:
        return True
    return False


async def test_the_edge_counts_before_the_handler_is_asked() -> None:
    asked: list[Message] = []

    async def answer(request: GenerateRequest, _context: Context) -> GenerateResponse:
        asked.append(request)
        return GenerateResponse()

    async with serving(inferences(Generate=answer), max_request_items=100) as running:
        call: Any = running.raw.unary_unary("/tidemill.inference.v1.InferenceService/Generate")
        await call(part(LABELS, b"") * 100, metadata=ACME)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(part(LABELS, b"") * 101, metadata=ACME)

    assert len(asked) == 1
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "more than 100 items" in str(raised.value.details())
