"""What clients see of budgets, by HTTP and gRPC."""

from typing import Any, cast

import httpx
import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.fakes import ADA, asking, question
from services.inference.tests.openai_api.apis import open_api, settings
from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from tidemill_inference.budgets.domain.budget import Budget, Window
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_inference.prices.domain.price import Price
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls

ASKED = {"model": "helpdesk", "messages": [{"role": "user", "content": "What does os.walk do?"}]}


async def asked(harness: BudgetHarness, times: int, **changes: object) -> httpx.Response:
    async with open_api(harness.answer) as api:
        return [await api.ask(headers=None, **{**ASKED, **changes}) for _ in range(times)][-1]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_shows_what_is_left_in_the_headers_that_openai_sends(*, stream: bool) -> None:
    harness = BudgetHarness(budget(window=Window.MINUTE, requests=3, tokens=9000))

    response = await asked(harness, 2, stream=stream)

    assert response.status_code == 200
    assert response.headers["x-ratelimit-limit-requests"] == "3"
    assert response.headers["x-ratelimit-remaining-requests"] == "1"
    assert response.headers["x-ratelimit-reset-requests"].endswith("s")
    assert response.headers["x-ratelimit-limit-tokens"] == "9000"
    assert 0 < int(response.headers["x-ratelimit-remaining-tokens"]) < 9000


@pytest.mark.parametrize(
    ("declared", "code", "kind"),
    [
        ([budget(requests=1)], "rate_limit_exceeded", "requests"),
        ([budget(tokens=10)], "rate_limit_exceeded", "tokens"),
        ([budget(cost="0.0000001"), price(output="1")], "insufficient_quota", "insufficient_quota"),
    ],
)
async def test_a_refused_call_has_the_words_that_openais_clients_know(
    declared: list[Budget | Price], code: str, kind: str
) -> None:
    response = await asked(BudgetHarness(*declared), 2)

    error = response.json()["error"]
    assert response.status_code == 429
    assert (error["code"], error["type"]) == (code, kind)
    assert "budget daily limits" in error["message"]
    assert int(response.headers["retry-after"]) > 60
    assert response.headers["x-should-retry"] == "false"
    if kind != "insufficient_quota":
        assert response.headers[f"x-ratelimit-limit-{kind}"]


async def test_grpc_callers_get_the_same_as_trailing_metadata() -> None:
    harness = BudgetHarness(budget(window=Window.MINUTE, requests=3))
    nothing = cast("Any", None)
    service = GrpcInferenceService(harness.answer, nothing, nothing, erase_inference=nothing, erase=nothing)
    server = GrpcServer(
        settings(), [(add_InferenceServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    await server.set_ready(True)
    request = pb.GenerateRequest(deployment="helpdesk", messages=[message()])
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        stub = InferenceServiceStub(channel)
        call = stub.Generate(request)
        await call
        whole = dict(await call.trailing_metadata())
        stream = stub.GenerateStream(pb.GenerateStreamRequest(request=request))
        assert [each async for each in stream]
        streamed = dict(await stream.trailing_metadata())
    await server.stop(1.0)

    assert (whole["x-ratelimit-remaining-requests"], streamed["x-ratelimit-remaining-requests"]) == ("2", "1")


def message() -> content_pb2.Message:
    return content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="What does os.walk do?")])


async def test_without_a_budget_no_limit_is_shown() -> None:
    response = await asked(BudgetHarness(price(output="1")), 1)

    assert not [name for name in response.headers if name.startswith("x-ratelimit")]


async def test_the_words_of_the_user_stand_in_no_refusal() -> None:
    harness = BudgetHarness(budget(tokens=10))
    said = "the words of the user"

    with pytest.raises(Exception, match="budget daily") as refused:
        await harness.answer.whole(ADA, question(said), request=asking("r1"))

    assert said not in f"{refused.value} {getattr(refused.value, 'metadata', '')}"
