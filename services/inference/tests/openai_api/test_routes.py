"""The OpenAI-compatible API by OpenAI's own client, and by httpx where the bytes themselves matter."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from prometheus_client import REGISTRY

from services.inference.tests.openai_api.apis import (
    ASKED,
    BODY,
    PASSAGE,
    Lines,
    ScriptedAnswers,
    events_of,
    open_api,
    shop_key,
)
from tidemill_core.application import derived_id
from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyTimedOut,
    DependencyUnavailable,
    InvalidInput,
    PermissionDenied,
    RateLimited,
    TidemillError,
    Violation,
)
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.errors import ModelNotReady, PromptTooLong
from tidemill_kit.service.app import Dependency
from tidemill_testkit.polling import eventually


async def test_a_whole_answer_comes_in_openais_shape_with_what_it_rests_on() -> None:
    async with open_api(ScriptedAnswers()) as api:
        answer = await api.openai.chat.completions.create(
            model="helpdesk", messages=[ASKED], extra_headers={"Idempotency-Key": "k-1"}
        )

    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Press reset.", "stop")
    assert answer.id == derived_id("acme", "inference", "k-1")
    assert (answer.object, answer.model, answer.created) == ("chat.completion", "helpdesk", 1795169700)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (20, 3, 23)
    basis: dict[str, Any] = (answer.model_extra or {})["tidemill"]
    assert basis["citations"] == [{"start": 0, "end": 12, "passage": "1"}]
    assert basis["passages"][0] | {"document": PASSAGE.document, "version": PASSAGE.version} == basis["passages"][0]
    assert (basis["warnings"], basis["citation_valid"], basis["variant"]["index"]) == (["fallback used"], 1.0, 3)


async def test_the_models_are_the_projects_deployments() -> None:
    async with open_api(ScriptedAnswers()) as api:
        models = await api.openai.models.list()
        one = await api.openai.models.retrieve("sales")
        with pytest.raises(openai.NotFoundError) as refused:
            await api.openai.models.retrieve("other")

    assert [(each.id, each.object, each.owned_by) for each in models.data] == [
        ("helpdesk", "model", "acme"),
        ("sales", "model", "acme"),
    ]
    assert (one.id, one.created) == ("sales", 1795169700)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_a_model_says_its_context_length_and_what_it_can_do_by_the_names_that_clients_read() -> None:
    async with open_api(ScriptedAnswers()) as api:
        one = (await api.openai.models.retrieve("sales")).model_extra

    assert one == {
        "root": "tiny@1",
        "context_length": 2048,
        "context_window": 2048,
        "max_model_len": 2048,
        "meta": {"n_ctx_train": 2048},
        "capabilities": ["completion", "tools", "logprobs"],
        "supported_parameters": [
            *("max_tokens", "temperature", "top_p", "seed", "stop", "tools", "tool_choice", "parallel_tool_calls"),
            *("logprobs", "top_logprobs"),
        ],
    }


@pytest.mark.parametrize("headers", [{}, {"OpenAI-Project": "acme"}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/helpdesk"])
async def test_a_call_without_a_key_is_answered_with_what_to_send(headers: dict[str, str], path: str) -> None:
    answers = ScriptedAnswers()
    async with open_api(answers) as api, httpx.AsyncClient(base_url=api.http.base_url) as stranger:
        method = "POST" if path.endswith("completions") else "GET"
        response = await stranger.request(method, path, headers=headers, content=json.dumps(BODY).encode())

    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (401, "authentication_error", "credential_missing")
    assert "authorization" in error["message"].lower()
    assert answers.asked == []


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (InvalidInput.of(Violation(field="deployment", description="is no name")), 400, ("model", "invalid_input")),
        (ModelNotReady("tiny", state="IMPORTING"), 400, (None, "model_not_ready")),
        (PermissionDenied("no"), 403, (None, "permission_denied")),
        (DeploymentNotFound("helpdesk", known=["sales"]), 404, ("model", "model_not_found")),
        (Conflict("again"), 409, (None, "conflict")),
        (RateLimited("busy", retry_after_s=1.2), 429, (None, "rate_limited")),
        (DependencyUnavailable("rag is down", dependency="rag"), 503, (None, "dependency_unavailable")),
        (DeadlineExceeded("late"), 504, (None, "deadline_exceeded")),
        (DependencyTimedOut("slow", dependency="model m@1"), 504, (None, "dependency_timed_out")),
        (PromptTooLong(tokens=20, limit=10, output_tokens=5), 400, ("messages", "context_length_exceeded")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_has_its_status_also_for_a_stream(
    error: TidemillError, status: int, expected: tuple[str | None, str], *, stream: bool
) -> None:
    async with open_api(ScriptedAnswers(error)) as api:
        with pytest.raises(openai.APIStatusError) as refused:
            await api.openai.chat.completions.create(model="helpdesk", messages=[ASKED], stream=stream)

    assert (refused.value.status_code, refused.value.param, refused.value.code) == (status, *expected)
    assert refused.value.response.headers.get("retry-after") == ("2" if status == 429 else None)


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (DependencyUnavailable("rag is down", dependency="rag"), None),
        (DependencyUnavailable("it fails", dependency="host", retried=2), "false"),
        (DependencyTimedOut("slow", dependency="model m@1"), "false"),
        (RateLimited("busy", retry_after_s=7), None),
    ],
)
async def test_what_was_tried_again_already_is_not_tried_again_by_openais_client(
    error: TidemillError, reported: str | None
) -> None:
    answers = ScriptedAnswers(error)
    async with open_api(answers) as api:
        refused = await api.ask(stream=True)
        if reported:
            client = api.openai.with_options(max_retries=2)
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="helpdesk", messages=[ASKED], stream=True)

    assert refused.headers.get("x-should-retry") == reported
    assert len(answers.asked) == (2 if reported else 1)


async def test_a_prompt_that_is_too_long_is_reported_in_openais_words_and_by_the_callers_name() -> None:
    async with open_api(ScriptedAnswers(PromptTooLong(tokens=20, limit=10, output_tokens=5))) as api:
        with pytest.raises(openai.BadRequestError, match=r"maximum context length is 10 .*lower max_tokens") as refused:
            await api.openai.chat.completions.create(model="helpdesk", messages=[ASKED], max_tokens=5)

    assert refused.value.code == "context_length_exceeded"


async def test_a_failure_of_ours_is_hidden_from_the_caller_and_logged_once(lines: Lines) -> None:
    async with open_api(ScriptedAnswers(ZeroDivisionError("a detail"))) as api:
        whole = await api.ask()
        streamed = await api.ask(stream=True)

    failed = lines.named("http_request_failed")
    for response, line in zip([whole, streamed], failed, strict=True):
        assert response.status_code == 500
        assert line["trace_id"] in response.json()["error"]["message"]
        assert "a detail" not in response.text
        assert "ZeroDivisionError" in line["exception"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_its_answer(lines: Lines, *, stream: bool) -> None:
    answers = ScriptedAnswers("Press ", asyncio.Event())
    async with open_api(answers) as api:
        asking = asyncio.create_task(api.ask(stream=stream))
        await eventually(lambda: answers.asked)
        asking.cancel()
        await asyncio.wait_for(answers.left.wait(), timeout=5)
        await eventually(lambda: lines.named("http_request_finished"))

    assert [line["status"] for line in lines.named("http_request_finished")] == [499]


async def test_a_stopping_server_reports_who_still_waits() -> None:
    answers = ScriptedAnswers("Press ", asyncio.Event())
    async with open_api(answers) as api:
        streaming, waiting = asyncio.create_task(api.ask(stream=True)), asyncio.create_task(api.ask())
        await eventually(lambda: len(answers.asked) == 2)
        await api.server.stop()
        streamed, whole = await streaming, await waiting

    assert whole.status_code == 503
    assert json.loads(events_of(streamed)[-1]) == whole.json()
    assert "stopping" in whole.json()["error"]["message"]


async def test_a_request_leaves_one_line_and_no_text_in_the_log(lines: Lines) -> None:
    async with open_api(ScriptedAnswers("Secret ", "answer.")) as api:
        whole = await api.ask()
        await api.ask(stream=True, user="ada@example.com")
        await api.ask(temperature="Kestrel")
        await api.http.get("/v1/models/kestrel")
        await api.http.get("/kestrel")

    finished = lines.named("http_request_finished")
    assert [(line["path"], line["status"]) for line in finished] == [
        ("/v1/chat/completions", 200),
        ("/v1/chat/completions", 200),
        ("/v1/chat/completions", 400),
        ("/v1/models/{model}", 404),
        ("unmatched", 404),
    ]
    assert finished[0]["inference"] == whole.json()["id"]
    assert finished[0]["project"] == "acme"
    assert finished[0]["duration_s"] >= 0
    for text in ("kestrel", "password", "secret ", "answer.", "ada@example.com"):
        assert text not in lines.text.lower()


async def test_the_callers_trace_goes_on_and_names_the_request(lines: Lines) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with open_api(ScriptedAnswers()) as api:
        response = await api.ask(headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

    assert response.headers["x-request-id"] == trace
    assert [line["trace_id"] for line in lines.named("http_request_finished")] == [trace]


async def test_requests_are_counted_by_route_and_status() -> None:
    labels = {"route": "/v1/chat/completions", "status": "400"}

    def counted() -> float:
        return REGISTRY.get_sample_value("tidemill_http_requests_total", labels) or 0

    before = counted()
    async with open_api(ScriptedAnswers()) as api:
        await api.ask(messages=[])

    assert counted() == before + 1


async def test_probes_report_liveness_and_readiness_without_a_project() -> None:
    asked: list[str] = []

    async def answers() -> None:
        asked.append("rag")

    async def fails() -> None:
        raise OSError

    up, down = Dependency(name="rag", probe=answers), Dependency(name="mongodb", probe=fails)
    async with open_api(ScriptedAnswers(), dependencies=(up,)) as well, httpx.AsyncClient() as probe:
        live = await probe.get(f"{well.http.base_url}/healthz/live")
        ready = await probe.get(f"{well.http.base_url}/healthz/ready")
        await asyncio.gather(*(probe.get(f"{well.http.base_url}/healthz/ready") for _ in range(20)))
        seldom = len(asked)
    async with open_api(ScriptedAnswers(), dependencies=(up, down)) as ill:
        waiting = await ill.http.get("/healthz/ready")

    assert (live.status_code, ready.status_code) == (200, 200)
    assert seldom < 10
    assert (waiting.status_code, waiting.json()["waiting_for"]) == (503, ["mongodb"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/embeddings", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/v1/models/", 404)],
)
async def test_what_is_not_served_is_refused_in_openais_shape(method: str, path: str, status: int) -> None:
    async with open_api(ScriptedAnswers()) as api:
        response = await api.http.request(method, path)

    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with open_api(ScriptedAnswers(), stall_s=0.2) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Authorization: Bearer {shop_key()}\r\n"
        writer.write(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        answer = (await asyncio.wait_for(reader.read(), timeout=5)).decode()
        writer.close()

    assert answer.startswith("HTTP/1.1 408")
    assert "body_too_slow" in answer
