"""A client that leaves in the middle of a stream, by HTTP and gRPC: at the first token, the tenth, and the last."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.fakes import ScriptedEngine
from services.inference.tests.openai_api.apis import BODY, open_api, settings
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from tidemill_inference.budgets.domain.budget import Amounts, Kind
from tidemill_inference.engines.ports import Finish, Generated, Piece, Prompt
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.polling import eventually

TOKEN, LAST, INPUT = "abc", 12, 10
"""Of three bytes, by which the tokens of an answer are counted that did not come to its end."""


@dataclass(kw_only=True)
class Twelve(ScriptedEngine):
    """Says twelve tokens, and goes on behind `holds_at` of them when its gate opens; with 0 it holds nowhere."""

    holds_at: int = 0
    said: int = field(default=0, init=False)

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        self.runs += 1
        self.seen.append(prompt)
        try:
            for number in range(1, LAST + 1):
                self.said += 1
                yield Piece(text=TOKEN)
                if number == self.holds_at:
                    async with asyncio.timeout(timeout_s):
                        await self.gate.wait()
            yield Finish(reason="stop", input_tokens=INPUT, output_tokens=LAST)
        finally:
            self.stops += 1


@dataclass(frozen=True)
class HttpClient:
    """Asks one question by one request id; closing the stream is leaving."""

    http: httpx.AsyncClient

    async def stream(self) -> AsyncGenerator[str, None]:
        body, headers = {**BODY, "stream": True}, {"Idempotency-Key": "k"}
        async with self.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        yield choice["delta"].get("content") or ""


@dataclass(frozen=True)
class GrpcClient:
    """Does the same by gRPC."""

    stub: InferenceServiceStub

    async def stream(self) -> AsyncGenerator[str, None]:
        asked = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="What does os.walk do?")])
        request = pb.GenerateRequest(request_id="k", deployment="helpdesk", messages=[asked])
        call = self.stub.GenerateStream(pb.GenerateStreamRequest(request=request))
        try:
            async for event in call:
                yield event.delta.text
        finally:
            call.cancel()


Edge = Callable[[BudgetHarness], AbstractAsyncContextManager[HttpClient | GrpcClient]]


@asynccontextmanager
async def by_http(harness: BudgetHarness) -> AsyncIterator[HttpClient]:
    async with open_api(harness.answer) as api:
        yield HttpClient(api.http)


@asynccontextmanager
async def by_grpc(harness: BudgetHarness) -> AsyncIterator[GrpcClient]:
    nothing = cast("Any", None)
    service = GrpcInferenceService(harness.answer, nothing, nothing, erase_inference=nothing, erase=nothing)
    server = GrpcServer(
        settings(), [(add_InferenceServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    await server.set_ready(True)
    try:
        async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
            yield GrpcClient(InferenceServiceStub(channel))
    finally:
        await server.stop(1.0)


async def read(client: HttpClient | GrpcClient, tokens: int) -> AsyncGenerator[str, None]:
    """Return the stream, of which so many tokens were read."""
    stream, text = client.stream(), ""
    while len(text) < tokens * len(TOKEN):
        text += await anext(stream)
    assert text == TOKEN * tokens
    return stream


def counted(harness: BudgetHarness) -> tuple[Amounts, object]:
    """Return what was used of the budget, and what is reserved of it."""
    assert isinstance(harness.ledger, InMemoryLedger)
    (stored,) = harness.ledger.stored
    state = harness.ledger.state_of(stored)
    return state.used.get("daily", {}), state.reserved


def tokens_of(record: Inference) -> tuple[int, int]:
    assert record.cost
    (item,) = record.cost.items
    return item.input_tokens, item.output_tokens


@pytest.mark.parametrize("edge", [by_http, by_grpc])
@pytest.mark.parametrize(
    ("token", "state"),
    [(1, State.CANCELLED), (10, State.CANCELLED), (LAST, State.CANCELLED), (LAST, State.COMPLETED)],
    ids=["first", "tenth", "last", "last of an answer that has ended"],
)
async def test_a_client_that_leaves_ends_the_work_and_pays_once_for_what_was_made(
    edge: Edge, token: int, state: State
) -> None:
    engine = Twelve(holds_at=0 if state is State.COMPLETED else token)
    engine.gate.clear()
    harness = BudgetHarness(budget(requests=9, tokens=5000), price(input="1", output="1"), engine=engine)

    async def ended(times: int = 1) -> bool:
        record = await harness.only_record()
        used, reserved = counted(harness)
        return record.state is not State.RESERVED and used.get(Kind.REQUESTS) == times and not reserved

    async with edge(harness) as client:
        stream = await read(client, token)
        if state is State.COMPLETED:
            await eventually(ended)
        await stream.aclose()
        await eventually(lambda: engine.stops == 1)
        await eventually(ended)
        record, (used, _), said = await harness.only_record(), counted(harness), engine.said

        engine.gate.set()
        answer = [text async for text in client.stream()]
        again = 1 if state is State.COMPLETED else 2
        await eventually(lambda: ended(again))

    given, made = tokens_of(record)
    assert (record.state, made, said) == (state, token, token)
    assert used == {Kind.REQUESTS: 1, Kind.TOKENS: given + made}
    assert "".join(answer) == TOKEN * LAST
    assert (engine.runs, engine.stops, (await harness.only_record()).state) == (again, again, State.COMPLETED)
    more = 0 if state is State.COMPLETED else INPUT + LAST
    assert counted(harness)[0] == {Kind.REQUESTS: again, Kind.TOKENS: given + made + more}
