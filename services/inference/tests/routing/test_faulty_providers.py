"""Answers through OpenAI's client while a provider fails in all the ways that providers do."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import openai
import pytest

from services.inference.tests.engines.openai_server import (
    GOOD,
    WORDS,
    Handler,
    OpenAiServer,
    breaks_off,
    chunk,
    hangs,
    in_turn,
    openai_server,
    says,
    streams,
)
from services.inference.tests.engines.operator_keys import OperatorKeys
from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, asking, helpdesk, question
from services.inference.tests.openai_api.apis import ApiClient, open_api
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.origins import AllowedHosts
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.engines.ports import Engine, ModelVersion, RemoteModel
from tidemill_inference.engines.remote import RemoteEngines, RemoteOptions
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.routing.domain.errors import CircuitOpen
from tidemill_inference.routing.domain.policy import RoutingPolicy

SAID = "".join(WORDS)
LOCAL = "from here"
NO_KEY = '{"error": {"message": "bad key", "code": "invalid_api_key"}}'
TOO_LONG = '{"error": {"message": "This model\'s maximum context length is 5", "code": "context_length_exceeded"}}'
ERROR_EVENT = {"error": {"message": "overloaded", "code": "server_error"}}


class Provided(AnsweringHarness):
    """A deployment whose model `smollm2` is behind a provider, and the models around it."""

    def __init__(self, server: OpenAiServer, *, stall_s: float = 10.0, retries: int = 2, **changes: object) -> None:
        here = ScriptedEngine(says=LOCAL)
        super().__init__(deployment=helpdesk(retrieval=None, **changes), small=here)
        self.remote = RemoteEngines(
            OperatorKeys(), RemoteOptions(allowed=AllowedHosts.of(["127.0.0.1"]), stall_s=stall_s)
        )
        self.urls = {"smollm2": server.url}
        self.router = replace(self.router, models=self, retries=retries)
        self.engines.use = self._use  # type: ignore[method-assign] # the provider's model beside the scripted ones
        self.answer = self.replica()

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        found = await self.registry.resolve(caller, reference, field=field)
        url = self.urls.get(found.digest)
        return replace(found, remote=RemoteModel(model="gpt", base_url=url)) if url else found

    @asynccontextmanager
    async def _use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        if model.remote is None:
            yield self.engines.engines[model.digest]
            return
        async with self.remote.use(project, model.remote) as engine:
            yield engine

    async def ask(self, request_id: str = "r1") -> Inference:
        return await self.answer.whole(ADA, question(), request=asking(request_id))

    @property
    async def outcomes(self) -> Sequence[tuple[str, str, str]]:
        record = await self.only_record()
        return [(each.model, each.kind.value, each.outcome) for each in record.attempts]


@asynccontextmanager
async def provided(
    handler: Handler, *, stall_s: float = 10.0, retries: int = 2, **changes: object
) -> AsyncIterator["Call"]:
    async with openai_server(handler) as server:
        harness = Provided(server, stall_s=stall_s, retries=retries, **changes)
        try:
            async with open_api(harness.answer) as api:
                yield Call(harness, server, api)
        finally:
            await harness.remote.close()


@dataclass
class Call:
    """A deployment, its provider, and the API in front of it."""

    harness: Provided
    server: OpenAiServer
    api: ApiClient


FAULTS = {
    "busy": (says(429, "busy", headers={"retry-after": "1"}), 1, "RATE_LIMITED"),
    "overloaded": (says(529, "overloaded"), 1, "RATE_LIMITED"),
    "error": (says(500, "oops"), 3, "DEPENDENCY_UNAVAILABLE"),
    "bad gateway": (says(502, "<html>"), 3, "DEPENDENCY_UNAVAILABLE"),
    "no key": (says(401, NO_KEY), 1, "PRECONDITION_FAILED"),
    "no model": (says(404, "no"), 1, "PRECONDITION_FAILED"),
    "nonsense": (says(200, "<html>welcome</html>"), 3, "DEPENDENCY_UNAVAILABLE"),
    "broken JSON": (streams("data: {nonsense\n\n"), 3, "DEPENDENCY_UNAVAILABLE"),
    "an error as the first event": (streams(ERROR_EVENT), 3, "DEPENDENCY_UNAVAILABLE"),
    "nothing": (streams(), 3, "DEPENDENCY_UNAVAILABLE"),
    "a connection that breaks": (breaks_off(), 3, "DEPENDENCY_UNAVAILABLE"),
    "silence": (hangs(), 1, "DEPENDENCY_TIMED_OUT"),
    "too small a window": (says(400, TOO_LONG), 1, "PROMPT_TOO_LONG"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_a_provider_does_before_its_first_token_the_fallback_answers(fault: str) -> None:
    handler, requests, reason = FAULTS[fault]
    async with provided(handler, stall_s=0.3, fallback=("small",)) as call:
        answer = await call.harness.ask()
        outcomes = await call.harness.outcomes

    assert answer.output[0].text == LOCAL
    assert answer.warnings == (f"fallback used: smollm2@1 failed ({reason})",)
    assert len(call.server.asked) == requests
    kinds = ["first", *["retry"] * (requests - 1)]
    assert outcomes == [*(("smollm2@1", kind, reason) for kind in kinds), ("small@1", "fallback", "ANSWERED")]


@pytest.mark.parametrize("fault", [each for each in FAULTS if each != "silence"])
async def test_without_a_fallback_the_client_gets_a_status_and_its_own_retries_do_not_multiply_ours(fault: str) -> None:
    handler, requests, _ = FAULTS[fault]
    statuses = {1: {400, 429}, 3: {503}}
    async with provided(handler, stall_s=0.3) as call:
        client = call.api.openai.with_options(max_retries=2)
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(
                model="helpdesk", messages=[{"role": "user", "content": "How?"}], stream=True
            )

    assert raised.value.status_code in statuses[requests]
    if raised.value.status_code == 429:
        assert int(raised.value.response.headers["retry-after"]) >= 1
        assert len(call.server.asked) == 3  # the client's own, after the time that it got
    else:
        assert len(call.server.asked) == requests


async def test_a_provider_that_recovers_is_answered_with_by_a_retry_and_nothing_is_degraded() -> None:
    async with provided(in_turn(says(503, "later"), streams(), streams(*GOOD)), fallback=("small",)) as call:
        answer = await call.harness.ask()

    assert (answer.output[0].text, answer.warnings) == (SAID, ())
    assert [each.input_tokens for each in answer.attempts] == [0, 0, 12]


@pytest.mark.parametrize("usage", [(), ({"choices": [], "usage": {"prompt_tokens": 10**15}},)])
async def test_tokens_that_a_provider_does_not_report_are_estimated_for_the_attempt(usage: Sequence[object]) -> None:
    async with provided(streams(*GOOD[:-1], *usage)) as call:
        answer = await call.harness.ask()

    (attempt,) = answer.attempts
    assert (attempt.outcome, attempt.estimated) == ("ANSWERED", True)
    assert attempt.input_tokens > 5
    assert attempt.output_tokens >= len(WORDS)


@pytest.mark.parametrize(
    "broken", [breaks_off(chunk("one")), streams(chunk("one")), streams(chunk("one"), ERROR_EVENT)]
)
async def test_half_a_stream_ends_with_an_error_and_never_with_a_second_voice(broken: Handler) -> None:
    async with provided(broken, fallback=("small",)) as call:
        response = await call.api.ask(stream=True)
        record = await call.harness.only_record()

    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    said = "".join(each["choices"][0]["delta"].get("content") or "" for each in events if each.get("choices"))
    assert (response.status_code, said) == (200, "one")
    assert events[-1]["error"]["code"] == "dependency_unavailable"
    assert "[DONE]" not in response.text
    assert (len(call.server.asked), record.state) == (1, State.FAILED)
    (attempt,) = record.attempts
    assert (attempt.outcome, attempt.output_tokens, attempt.estimated) == ("DEPENDENCY_UNAVAILABLE", 1, True)


async def test_a_stream_that_pauses_for_too_long_ends_with_an_error() -> None:
    routing = RoutingPolicy(token_timeout_s=0.1)
    async with provided(hangs(chunk("one")), fallback=("small",), routing=routing) as call:
        response = await call.api.ask(stream=True)

    assert '"code": "dependency_timed_out"' in response.text or '"code":"dependency_timed_out"' in response.text
    assert LOCAL not in response.text


async def test_an_open_circuit_spares_the_provider_and_closes_when_it_answers_again() -> None:
    handler = in_turn(*[says(500, "oops")] * 5, streams(*GOOD))
    async with provided(handler, retries=0, fallback=("small",)) as call:
        for number in range(8):
            assert (await call.harness.ask(f"r{number}")).output[0].text == LOCAL
        assert len(call.server.asked) == 5
        assert call.harness.routing.circuits == [("smollm2@1", True)]

        circuit = call.harness.router.endpoints.of("acme", "smollm2@1").circuit
        circuit.open_until = 0.0  # its time is over
        assert (await call.harness.ask("probe")).output[0].text == SAID
        assert call.harness.routing.circuits == [("smollm2@1", True), ("smollm2@1", False)]


async def test_without_a_fallback_an_open_circuit_is_unavailable_with_the_time_to_come_again() -> None:
    async with provided(says(500, "oops"), retries=0) as call:
        for number in range(5):
            with pytest.raises(DependencyUnavailable):
                await call.harness.ask(f"r{number}")
        with pytest.raises(CircuitOpen):
            await call.harness.ask("open")
        response = await call.api.ask()

    assert (response.status_code, response.json()["error"]["code"]) == (503, "circuit_open")
    assert 0 < int(response.headers["retry-after"]) <= 30
    assert response.headers["x-should-retry"] == "false"
    assert len(call.server.asked) == 5


async def test_two_replicas_have_circuits_of_their_own() -> None:
    async with provided(in_turn(*[says(500, "oops")] * 5, streams(*GOOD)), retries=0, fallback=("small",)) as call:
        for number in range(6):
            await call.harness.ask(f"r{number}")
        other = Provided(call.server, fallback=("small",))

        assert (await other.ask()).output[0].text == SAID
        await other.remote.close()


async def test_a_hedge_leaves_one_connection_and_one_answer() -> None:
    routing = RoutingPolicy(hedge_after_s=0.05)
    async with provided(in_turn(hangs(), streams(*GOOD)), routing=routing) as call:
        answer = await call.harness.ask()

    assert answer.output[0].text == SAID
    assert [(each.kind.value, each.outcome) for each in answer.attempts] == [
        ("first", "CANCELLED"),
        ("hedge", "ANSWERED"),
    ]
    assert [(each.input_tokens, each.estimated) for each in answer.attempts] == [(12, True), (12, False)]


async def test_an_equal_model_at_another_address_answers_undegraded_and_says_that_it_did() -> None:
    async with openai_server(streams(*GOOD)) as europe, provided(says(500, "oops"), retries=0) as call:
        harness = call.harness
        harness.registry.versions["europe"] = 1
        harness.urls["europe"] = europe.url
        await harness.deployments.update("acme", "helpdesk", _with_an_equal_model, request=asking("equal"))
        answer = await harness.ask()

    assert (answer.output[0].text, answer.warnings) == (SAID, ())
    assert answer.variant is not None
    assert answer.variant.model == "europe@1"


def _with_an_equal_model(deployment: Deployment) -> None:
    deployment.equals = {"europe@1": 1}


@pytest.mark.parametrize(("record", "kept"), [(RecordMode.FULL, 1), (RecordMode.METADATA, 1), (RecordMode.NONE, 0)])
async def test_the_attempts_of_an_answer_that_failed_are_recorded_but_in_mode_none(
    record: RecordMode, kept: int
) -> None:
    async with provided(says(429, "busy"), record=record) as call:
        with pytest.raises(TidemillError):
            await call.harness.ask()
        stored = await call.harness.only_record()

    assert stored.state is State.FAILED
    assert len(stored.attempts) == kept


async def test_the_attempt_of_an_answer_whose_client_left_is_recorded_as_cancelled() -> None:
    async with provided(hangs(chunk("one"))) as call:
        asked = asyncio.create_task(call.harness.ask())
        while not call.server.asked:  # noqa: ASYNC110 - the server is another task
            await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        stored = await call.harness.only_record()

    assert stored.state is State.CANCELLED
    assert [each.outcome for each in stored.attempts] == ["CANCELLED"]
