"""feedback's HTTP API: reactions from the page that shows an answer, and the RPCs as JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
import structlog

from services.feedback.tests.builders import ADA, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.inference_server import settings
from services.feedback.tests.metrics.builders import SOLVED
from tidemill.feedback.v1.feedback_service_pb2_grpc import add_FeedbackServiceServicer_to_server
from tidemill_feedback.reactions.domain.reaction import Preference
from tidemill_feedback.reactions.grpc import GrpcFeedbackService
from tidemill_feedback.reactions.http import OwnRpcs
from tidemill_kit.grpc.admission import Admission, Limits
from tidemill_kit.http.feedback import HttpFeedback, TokenRefused
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_kit.http.signed_tokens import SignedTokens
from tidemill_testkit.access import access_of, admin_headers, installation
from tidemill_testkit.audit import RecordedCalls

TOKENS = SignedTokens(purpose="feedback", key=b"k" * 32, lifetime=timedelta(days=1), refusal=TokenRefused)
RATING = {"inference": "i1", "metric": "rating", "number": 1}


@dataclass(kw_only=True)
class Page:
    """A page of project acme that shows the answer i1."""

    harness: FeedbackHarness
    http: httpx.AsyncClient

    @property
    def token(self) -> str:
        return TOKENS.issue("acme", "i1", now=self.harness.clock.now())

    async def react(self, **changes: object) -> httpx.Response:
        return await self.http.post("/v1/feedback", json=RATING | {"token": self.token} | changes)

    async def withdraw(self, feedback: str, *, token: str | None = None, request_id: str = "") -> httpx.Response:
        headers = {"Feedback-Token": self.token if token is None else token}
        return await self.http.delete(f"/v1/feedback/{feedback}", headers=headers, params={"request_id": request_id})


@asynccontextmanager
async def open_page(tokens: SignedTokens | None = TOKENS, *, max_rpcs: int = 10) -> AsyncIterator[Page]:
    harness = FeedbackHarness()
    harness.inferences.put("i1")
    harness.inferences.put("i2")
    service = GrpcFeedbackService(
        feedback=harness.read, submit=harness.submit, erase=harness.erase, clock=harness.clock
    )
    chosen = settings(http_rpcs=True)
    admission = Admission(Limits(max_rpcs=max_rpcs, max_public_streams=1))
    servicers = [(add_FeedbackServiceServicer_to_server, service)]
    rpcs = HttpRpcs(servicers, chosen, admission=admission, access=access_of(), audit=RecordedCalls())
    api = HttpFeedback(
        rpcs=OwnRpcs(rpcs=rpcs), tokens=tokens, setting="FEEDBACK_TOKEN_KEY", clock=harness.clock, max_body_bytes=4096
    )
    app = rpc_application(rpcs, chosen, dependencies=[], routes=api.routes())
    headers = {"OpenAI-Project": "acme"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
        yield Page(harness=harness, http=http)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with open_page() as page:
        yield page


async def test_a_reaction_is_recorded_as_the_asking_user_s_and_once_for_each_request(page: Page) -> None:
    first, again = [await page.react(request_id="r-1") for _ in range(2)]
    correction = await page.react(number=None, metric="correction", correction="It walks.")

    reply = first.json()
    assert (first.status_code, reply["object"], reply["state"], reply["inference"], reply["metric"]) == (
        200,
        "feedback",
        "recorded",
        "i1",
        "rating",
    )
    assert again.json() == reply
    kept = await page.harness.feedback.get("acme", reply["id"])
    assert (kept.rater, kept.seq) == ("user", 1)
    corrected = (await page.harness.feedback.get("acme", correction.json()["id"])).current
    assert corrected is not None
    assert corrected.text == "It walks."


async def test_the_same_request_by_json_rpc_has_one_effect(page: Page) -> None:
    feedback = {"inference": "i1", "metric": "rating", "number": 1}
    by_page = await page.react(request_id="r-1")
    by_rpc = await page.http.post(
        "/tidemill.feedback.v1.FeedbackService/SubmitFeedback",
        json={"feedback": feedback, "request_id": "r-1"},
        headers=admin_headers("acme"),
    )

    assert by_rpc.json()["feedback"]["id"] == by_page.json()["id"]
    assert (await page.harness.feedback.get("acme", by_page.json()["id"])).seq == 1


async def test_a_reaction_takes_a_place_among_the_rpcs_in_work_and_is_logged_as_one() -> None:
    async with open_page(max_rpcs=0) as page:
        refused = await page.react()
    with structlog.testing.capture_logs() as lines:
        async with open_page() as page:
            await page.react()

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    finished = [line for line in lines if line["event"] == "rpc_finished"]
    assert [(line["method"].rpartition("/")[2], line["code"]) for line in finished] == [("SubmitFeedback", "OK")]


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        ({"token": ""}, 403, "token"),
        ({"inference": "i2"}, 403, "token"),
        ({"rater": "judge"}, 400, "rater"),
        ({"comment": "x"}, 400, "exactly one of"),
        ({"number": 7}, 400, "number"),
        ({"number": None, "metric": "comment", "comment": "x" * 5000}, 413, "body"),
    ],
)
async def test_what_is_no_reaction_to_the_answer_that_was_shown_is_refused(
    page: Page, changes: dict[str, object], status: int, named: str
) -> None:
    refused = await page.react(**changes)

    assert (refused.status_code, named in refused.text) == (status, True)


async def test_a_value_of_a_conversation_is_refused_with_the_way_that_takes_it(page: Page) -> None:
    await page.harness.declare.create(ADA, SOLVED, write())

    refused = await page.react(metric="solved", number=None, flag=True)

    assert refused.status_code == 400
    assert "metric: is about conversations, and the token of one answer: give it by gRPC" in refused.text
    assert "in conversation" not in refused.text


async def test_the_answer_that_was_shown_is_preferred_to_another_one_of_the_same_user(page: Page) -> None:
    page.harness.inferences.put("i2", output="Another one.")
    page.harness.inferences.put("i3", output="Another one.", end_user="eve")
    choice = {"metric": "preference", "number": None}

    given = await page.react(**choice, preference={"rejected": "i2", "chosen_position": 2})
    of_another = await page.react(**choice, preference={"rejected": "i3"})
    without = await page.react(**choice, preference={"chosen": "i1"})

    saved = (await page.harness.feedback.get("acme", given.json()["id"])).current
    assert saved
    assert saved.preference == Preference(chosen="i1", rejected="i2", chosen_position=2)
    assert [each.status_code for each in (of_another, without)] == [400, 400]
    assert of_another.json()["details"][0]["reason"] == "END_USERS_DIFFER"


async def test_the_user_who_asked_withdraws_a_reaction_and_no_one_else_does(page: Page) -> None:
    given = (await page.react()).json()["id"]
    without = await page.withdraw(given, token="")
    other = TOKENS.issue("acme", "i2", now=page.harness.clock.now())
    foreign = await page.withdraw(given, token=other)
    long = await page.withdraw(given, request_id="x" * 999)
    unknown = await page.withdraw("none")
    withdrawn = [await page.withdraw(given) for _ in range(2)]

    assert [each.status_code for each in (without, foreign, long, unknown)] == [403, 403, 400, 403]
    assert [(each.status_code, each.json()["state"]) for each in withdrawn] == [(200, "withdrawn")] * 2


async def test_a_reviewer_s_reaction_is_not_withdrawn_by_the_user_s_token(page: Page) -> None:
    reviewed = await page.http.post(
        "/tidemill.feedback.v1.FeedbackService/SubmitFeedback",
        json={"feedback": {"inference": "i1", "metric": "rating", "number": 0, "rater": "reviewer"}},
        headers=admin_headers("acme"),
    )

    refused = await page.withdraw(reviewed.json()["feedback"]["id"])

    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (403, "FEEDBACK_OF_ANOTHER")


async def test_without_a_project_or_a_key_for_tokens_nothing_is_taken() -> None:
    async with open_page() as page:
        path = await page.http.post("/projects/acme/v1/feedback", json=RATING | {"token": page.token})
        assert (await page.http.post("/projects/other/v1/feedback", json=RATING)).status_code == 400
        page.http.headers.pop("OpenAI-Project")
        nameless = await page.react()
    async with open_page(tokens=None) as page:
        submitted, withdrawn = await page.react(), await page.withdraw("f")

    assert (path.status_code, nameless.status_code) == (200, 401)
    assert [each.status_code for each in (submitted, withdrawn)] == [400, 400]
    assert "FEEDBACK_TOKEN_KEY" in submitted.text


async def test_a_page_needs_the_answer_s_token_and_nothing_else() -> None:
    async with open_page() as page:
        by_token = await page.react()
        without = await page.react(token="")
        listed = await page.http.post("/tidemill.feedback.v1.FeedbackService/ListFeedback", json={})
        low = {"authorization": f"Bearer {installation().token('acme', 'viewer')}"}
        too_low = await page.http.post("/v1/feedback", json=RATING | {"token": page.token}, headers=low)
        wrong = await page.http.post(
            "/v1/feedback", json=RATING | {"token": page.token}, headers={"authorization": "x"}
        )

    statuses = [each.status_code for each in (by_token, without, listed, too_low, wrong)]
    assert statuses == [200, 403, 401, 403, 401]


async def test_without_a_credential_an_absent_reaction_is_answered_as_a_wrong_token() -> None:
    async with open_page() as page:
        given = (await page.react()).json()["id"]
        wrong, absent, elsewhere = [
            await page.http.delete(f"/v1/feedback/{feedback}", headers={"Feedback-Token": token, **headers})
            for feedback, token, headers in (
                (given, page.token + "x", {}),
                ("none", page.token, {}),
                ("none", page.token, {"OpenAI-Project": "absent"}),
            )
        ]
        page.http.headers["authorization"] = f"Bearer {installation().token('acme', 'contributor')}"
        credentialed = await page.withdraw("none")
        withdrawn = await page.withdraw(given)

    assert wrong.status_code == 403
    assert (credentialed.status_code, withdrawn.status_code) == (404, 200)
    assert absent.content == wrong.content
    assert elsewhere.content == wrong.content


async def test_the_holder_of_an_answer_s_token_reacts_as_its_asker_whatever_key_is_sent() -> None:
    async with open_page() as page:
        page.http.headers["authorization"] = f"Bearer {installation().token('acme', 'contributor', subject='user:app')}"
        given = (await page.react()).json()["id"]
        stored = await page.harness.feedback.get("acme", given)
        withdrawn = await page.withdraw(given)

    assert (stored.end_user, stored.rater, stored.counts, withdrawn.status_code) == ("u1", "user", True, 200)
