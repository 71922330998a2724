"""`POST /v1/feedback` on a real server, with a feedback service on a real one behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from services.inference.tests.openai_api.apis import TOKENS, ApiClient, Lines, ScriptedAnswers, open_api, settings
from tidemill.feedback.v1 import feedback_pb2, feedback_service_pb2, feedback_service_pb2_grpc
from tidemill_core.errors import InvalidInput, NotFound, TidemillError, Violation
from tidemill_kit.grpc.server import GrpcServer, current_caller
from tidemill_testkit.access import access_of, service_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON

Context = grpc.aio.ServicerContext[Any, Any]
SHOP = "https://shop.example"
TOKEN = TOKENS.issue("acme", "i-1", now=NOON)


class Feedback(feedback_service_pb2_grpc.FeedbackServiceServicer):
    """Records whatever comes, unless it is set to refuse."""

    def __init__(self) -> None:
        self.received: list[tuple[str, feedback_service_pb2.SubmitFeedbackRequest]] = []
        self.refusal: TidemillError | None = None
        self.withdrawn: list[tuple[str, str, str]] = []
        self.kept = {
            "f-1": feedback_pb2.Feedback(inference="i-1", metric="rating", rater="user", counts=True),
            "f-2": feedback_pb2.Feedback(inference="i-2", metric="rating", rater="user", counts=True),
            "f-3": feedback_pb2.Feedback(inference="i-1", metric="rating", rater="reviewer", counts=True),
            "f-4": feedback_pb2.Feedback(inference="i-1", metric="rating", rater="user", end_user="another"),
        }

    async def GetFeedback(  # noqa: N802 - the contract's name
        self, request: feedback_service_pb2.GetFeedbackRequest, _context: Context
    ) -> feedback_service_pb2.GetFeedbackResponse:
        if request.id not in self.kept or current_caller().project != "acme":
            message = f"there is no feedback {request.id}"
            raise NotFound(message)
        self.kept[request.id].id = request.id
        return feedback_service_pb2.GetFeedbackResponse(feedback=self.kept[request.id])

    async def WithdrawFeedback(  # noqa: N802 - the contract's name
        self, request: feedback_service_pb2.WithdrawFeedbackRequest, _context: Context
    ) -> feedback_service_pb2.WithdrawFeedbackResponse:
        self.withdrawn.append((current_caller().project, request.id, request.request_id))
        self.kept[request.id].state = feedback_pb2.FEEDBACK_STATE_WITHDRAWN
        self.kept[request.id].counts = False
        return feedback_service_pb2.WithdrawFeedbackResponse(feedback=self.kept[request.id])

    async def SubmitFeedback(  # noqa: N802 - the contract's name
        self, request: feedback_service_pb2.SubmitFeedbackRequest, _context: Context
    ) -> feedback_service_pb2.SubmitFeedbackResponse:
        self.received.append((current_caller().project, request))
        if self.refusal:
            raise self.refusal
        given = request.feedback
        recorded = feedback_pb2.Feedback(
            id="f-1", state=feedback_pb2.FEEDBACK_STATE_PENDING, inference=given.inference, metric=given.metric
        )
        return feedback_service_pb2.SubmitFeedbackResponse(feedback=recorded)


@asynccontextmanager
async def feedback_api() -> AsyncIterator[tuple[ApiClient, Feedback]]:
    feedback = Feedback()  # type: ignore[abstract] # what it lacks answers UNIMPLEMENTED
    registration = (feedback_service_pb2_grpc.add_FeedbackServiceServicer_to_server, feedback)
    server = GrpcServer(settings(), [registration], access=access_of(), audit=RecordedCalls())
    await server.start()
    channel = service_channel("inference", f"127.0.0.1:{server.port}", name="feedback", timeout_s=5)
    try:
        stub = feedback_service_pb2_grpc.FeedbackServiceStub(channel)
        async with open_api(ScriptedAnswers(), feedback=stub, cors_origins=(SHOP,)) as api:
            yield api, feedback
    finally:
        await channel.close()
        await server.stop(1.0)


async def test_reactions_of_all_kinds_are_passed_on_for_the_callers_project() -> None:
    async with feedback_api() as (api, feedback):
        answers = [
            await api.http.post("/v1/feedback", json={"inference": "i-1", "token": TOKEN, **body})
            for body in (
                {"metric": "rating", "number": 0.0, "request_id": "r-1"},
                {"metric": "comment", "comment": "Too long.", "number": None},
                {"metric": "correction", "correction": "os.walk walks."},
            )
        ]

    assert [each.status_code for each in answers] == [200, 200, 200]
    said = {"id": "f-1", "object": "feedback", "state": "pending", "inference": "i-1", "metric": "rating"}
    assert answers[0].json() == said
    [(project, rating), (_, comment), (_, correction)] = feedback.received
    assert project == "acme"
    assert (rating.request_id, rating.feedback.end_user, rating.feedback.inference) == ("r-1", "", "i-1")
    assert (rating.feedback.WhichOneof("value"), rating.feedback.number) == ("number", 0.0)
    assert (comment.feedback.WhichOneof("value"), comment.feedback.comment) == ("comment", "Too long.")
    assert correction.feedback.metric == "correction"
    assert [part.text for part in correction.feedback.correction.output[0].parts] == ["os.walk walks."]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"metric": "rating", "number": 1}, "inference", "is required"),
        ({"inference": "i", "metric": "rating", "number": 1, "rater": "judge"}, "rater", "is not supported"),
        ({"inference": "i", "metric": "rating", "number": 1, "end_user": "u"}, "end_user", "is not supported"),
        (
            {"inference": "i", "metric": "rating"},
            "body",
            "exactly one of flag, number, category, comment, correction, preference",
        ),
        ({"inference": "i", "metric": "rating", "number": 1, "comment": "x"}, "body", "exactly one of"),
        ({"inference": "i", "metric": "rating", "number": "1"}, "number", "valid number"),
        ({"inference": "i", "metric": "rating", "number": 1, "request_id": "x" * 999}, "request_id", "at most"),
    ],
)
async def test_what_is_no_reaction_is_refused_by_field(body: dict[str, object], param: str, message: str) -> None:
    async with feedback_api() as (api, feedback):
        answer = await api.http.post("/v1/feedback", json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"]
    assert not feedback.received


async def test_what_feedback_refuses_is_reported_in_the_callers_own_words() -> None:
    reaction = {"inference": "i-1", "token": TOKEN, "metric": "rating", "number": 7}
    async with feedback_api() as (api, feedback):
        feedback.refusal = InvalidInput.of(Violation(field="feedback.number", description="is 7; use 0 to 1"))
        refused = await api.http.post("/v1/feedback", json=reaction)
        feedback.refusal = NotFound("there is no inference i")
        unknown = await api.http.post("/v1/feedback", json=reaction)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "number")
    assert "is 7; use 0 to 1" in refused.json()["error"]["message"]
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (404, "there is no inference i")


async def test_without_a_project_or_a_feedback_service_nothing_is_taken() -> None:
    reaction = {"inference": "i-1", "token": TOKEN, "metric": "rating", "number": 1}
    async with feedback_api() as (api, feedback):
        large = await api.http.post("/v1/feedback", json={**reaction, "comment": "x" * 5000})
        del api.http.headers["authorization"], api.http.headers["openai-project"]
        unauthenticated = await api.http.post("/v1/feedback", json=reaction)
        assert not feedback.received
    async with open_api(ScriptedAnswers()) as api:
        unserved = await api.http.post("/v1/feedback", json=reaction)

    assert (unauthenticated.status_code, large.status_code) == (401, 413)
    assert unserved.status_code == 501
    assert "INFERENCE_FEEDBACK_ADDRESS" in unserved.json()["error"]["message"]


async def test_pages_of_the_origins_that_are_set_may_ask_and_read_errors_and_others_may_not() -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "openai-project,content-type"}
    deletes = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "feedback-token"}
    async with feedback_api() as (api, _):
        allowed = await api.http.options("/v1/feedback", headers={"Origin": SHOP, **asks})
        withdrawal = await api.http.options("/v1/feedback/f-1", headers={"Origin": SHOP, **deletes})
        refused = await api.http.post("/v1/feedback", json={}, headers={"Origin": SHOP})
        stranger = await api.http.options("/v1/feedback", headers={"Origin": "https://evil.example", **asks})
    async with open_api(ScriptedAnswers()) as api:
        closed = await api.http.options("/v1/feedback", headers={"Origin": SHOP, **asks})

    assert (allowed.status_code, withdrawal.status_code) == (200, 200)
    assert allowed.headers["access-control-allow-origin"] == SHOP
    assert "openai-project" in allowed.headers["access-control-allow-headers"]
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, SHOP)
    assert "access-control-allow-origin" not in {**stranger.headers, **closed.headers}


async def test_what_users_say_is_in_no_log(lines: Lines) -> None:
    async with feedback_api() as (api, feedback):
        feedback.refusal = NotFound("unknown")
        for body in ({"comment": "kestrel"}, {"comment": "kestrel", "number": 1}, {"number": "kestrel"}):
            await api.http.post("/v1/feedback", json={"inference": "i-1", "token": TOKEN, "metric": "comment", **body})

    assert "kestrel" not in lines.text
    assert lines.named("http_request_finished")[0]["inference"] == "i-1"


async def test_only_who_was_shown_the_answer_may_react_to_it() -> None:
    reaction = {"inference": "i-2", "metric": "correction", "correction": "Buy at evil.example."}
    async with feedback_api() as (api, feedback):
        refused = [await api.http.post("/v1/feedback", json={**reaction, **token}) for token in ({}, {"token": TOKEN})]

    assert [each.status_code for each in refused] == [403, 403]
    assert "feedback_token that came with the answer" in refused[0].json()["error"]["message"]
    assert not feedback.received


async def test_an_answer_brings_the_token_that_a_reaction_to_it_takes() -> None:
    async with feedback_api() as (api, feedback):
        answer = (await api.ask()).json()
        reaction = {"inference": answer["id"], "token": answer["tidemill"]["feedback_token"], "metric": "rating"}
        taken = await api.http.post("/v1/feedback", json={**reaction, "number": 1})

    assert taken.status_code == 200
    assert len(feedback.received) == 1


async def test_without_a_key_no_reaction_is_taken_and_no_token_is_made() -> None:
    async with open_api(ScriptedAnswers(), tokens=None) as api:
        answer = (await api.ask()).json()
        refused = await api.http.post("/v1/feedback", json={"inference": "i-1", "metric": "rating", "number": 1})

    assert answer["tidemill"]["feedback_token"] == ""
    assert refused.status_code == 400
    assert "INFERENCE_FEEDBACK_TOKEN_KEY" in refused.json()["error"]["message"]


async def test_the_person_who_asked_withdraws_a_reaction_and_a_repeated_request_changes_nothing() -> None:
    async with feedback_api() as (api, feedback):
        answers = [
            await api.http.delete(path, headers={"Feedback-Token": TOKEN})
            for path in ("/v1/feedback/f-1?request_id=r-1", "/v1/feedback/f-1", "/projects/acme/v1/feedback/f-1")
        ]

    reply = {"id": "f-1", "object": "feedback", "state": "withdrawn", "inference": "i-1", "metric": "rating"}
    assert [(each.status_code, each.json()) for each in answers] == [(200, reply)] * 3
    assert [each[:2] for each in feedback.withdrawn] == [("acme", "f-1")] * 3
    assert feedback.withdrawn[0][2] == "r-1"


@pytest.mark.parametrize(
    ("feedback_id", "headers", "status"),
    [
        ("f-1", {}, 403),
        ("f-1", {"Feedback-Token": "1." + TOKEN}, 403),
        ("f-2", {"Feedback-Token": TOKEN}, 403),
        ("f-3", {"Feedback-Token": TOKEN}, 403),
        ("f-4", {"Feedback-Token": TOKEN}, 403),
        ("f-9", {"Feedback-Token": TOKEN}, 404),
        ("f-1", {"Feedback-Token": TOKEN, "OpenAI-Project": "other"}, 403),
        ("f-1?request_id=" + "x" * 999, {"Feedback-Token": TOKEN}, 400),
    ],
)
async def test_reactions_of_others_or_to_other_answers_are_not_withdrawn(
    feedback_id: str, headers: dict[str, str], status: int
) -> None:
    async with feedback_api() as (api, feedback):
        answer = await api.http.delete(f"/v1/feedback/{feedback_id}", headers=headers)

    assert answer.status_code == status
    assert feedback.withdrawn == []


async def test_without_a_key_for_tokens_no_reaction_is_withdrawn() -> None:
    async with open_api(ScriptedAnswers(), tokens=None) as api:
        refused = await api.http.delete("/v1/feedback/f-1", headers={"Feedback-Token": TOKEN})

    assert refused.status_code == 400
    assert "INFERENCE_FEEDBACK_TOKEN_KEY" in refused.json()["error"]["message"]


async def test_without_a_credential_an_absent_reaction_is_answered_as_a_wrong_token() -> None:
    async with feedback_api() as (api, _):
        shown = {"authorization": api.http.headers.pop("authorization")}
        wrong, absent, credentialed = [
            await api.http.delete(f"/v1/feedback/{feedback}", headers={"Feedback-Token": TOKEN, **headers})
            for feedback, headers in (("f-2", {}), ("f-9", {}), ("f-9", shown))
        ]

    assert (wrong.status_code, credentialed.status_code) == (403, 404)
    assert (absent.status_code, absent.content) == (403, wrong.content)
