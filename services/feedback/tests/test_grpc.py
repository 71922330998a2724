"""The gRPC APIs of feedback: a real server on a free port, with stores in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict

from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.inference_server import settings
from tidemill.feedback.v1 import curation_pb2, feedback_pb2
from tidemill.feedback.v1 import curation_service_pb2 as curations_pb
from tidemill.feedback.v1 import feedback_metric_service_pb2 as metrics_pb
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill.feedback.v1.curation_service_pb2_grpc import (
    CurationServiceStub,
    add_CurationServiceServicer_to_server,
)
from tidemill.feedback.v1.feedback_metric_service_pb2_grpc import (
    FeedbackMetricServiceStub,
    add_FeedbackMetricServiceServicer_to_server,
)
from tidemill.feedback.v1.feedback_service_pb2_grpc import (
    FeedbackServiceStub,
    add_FeedbackServiceServicer_to_server,
)
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Unauthenticated
from tidemill_feedback.curations.grpc import GrpcCurationService
from tidemill_feedback.errors import FeedbackNotFound
from tidemill_feedback.metrics.grpc import GrpcFeedbackMetricService
from tidemill_feedback.reactions.grpc import GrpcFeedbackService
from tidemill_feedback.reactions.mongo import FEEDBACK, LISTS
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name

CURATION = {
    "id": "sft",
    "dataset": "helpdesk_sft",
    "deployment": "helpdesk",
    "feedback": ["correction"],
    "new_examples": 3,
    "at_latest_every": "604800s",
    "labels": {"tidemill.dev/loop": "helpdesk"},
}


@dataclass(kw_only=True)
class ApiClient:
    """Stubs for project acme."""

    harness: FeedbackHarness
    port: int
    feedback: FeedbackServiceStub
    curations: CurationServiceStub
    metrics: FeedbackMetricServiceStub

    async def submit(self, **fields: object) -> feedback_pb2.Feedback:
        request = pb.SubmitFeedbackRequest()
        ParseDict({"inference": "i1"} | fields, request.feedback)
        return (await self.feedback.SubmitFeedback(request)).feedback

    async def create(self, **fields: object) -> curation_pb2.Curation:
        request = curations_pb.CreateCurationRequest()
        ParseDict(CURATION | fields, request.curation)
        return (await self.curations.CreateCuration(request)).curation


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    async with open_api(FeedbackHarness()) as api:
        yield api


@asynccontextmanager
async def open_api(harness: FeedbackHarness) -> AsyncIterator[ApiClient]:
    service = GrpcFeedbackService(
        feedback=harness.read, submit=harness.submit, erase=harness.erase, clock=harness.clock
    )
    server = DirectServer(
        settings(),
        [
            (add_FeedbackServiceServicer_to_server, service),
            (add_CurationServiceServicer_to_server, GrpcCurationService(curations=harness.crud)),
            (
                add_FeedbackMetricServiceServicer_to_server,
                GrpcFeedbackMetricService(metrics=harness.declare, figures=harness.figures),
            ),
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield ApiClient(
            harness=harness,
            port=server.port,
            feedback=FeedbackServiceStub(channel),
            curations=CurationServiceStub(channel),
            metrics=FeedbackMetricServiceStub(channel),
        )
    await server.stop(1)


async def test_reactions_are_given_and_read_as_they_were_given(api: ApiClient) -> None:
    api.harness.inferences.put("i1")
    output = [{"role": "ROLE_ASSISTANT", "parts": [{"text": "It is "}, {"text": "so."}]}]

    rating = await api.submit(metric="rating", number=0, labels={"a": "b"})
    comment = await api.submit(metric="comment", comment="No.", end_user="u2", rater="reviewer")
    correction = await api.submit(
        metric="correction", correction={"output": output}, observe_time="2026-01-01T11:00:00Z"
    )

    assert (rating.state, rating.WhichOneof("value"), rating.number) == (
        feedback_pb2.FEEDBACK_STATE_RECORDED,
        "number",
        0,
    )
    assert (rating.project, rating.deployment, rating.end_user, rating.rater, rating.times) == (
        "acme",
        "helpdesk",
        "u1",
        "user",
        1,
    )
    assert (comment.comment, comment.end_user, comment.rater) == ("No.", "u2", "reviewer")
    assert correction.correction.output[0].parts[0].text == "It is so."
    assert correction.observe_time.ToJsonString() == "2026-01-01T11:00:00Z"
    got = (await api.feedback.GetFeedback(pb.GetFeedbackRequest(id=correction.id))).feedback
    assert got == correction
    first = await api.feedback.ListFeedback(pb.ListFeedbackRequest(page_size=2, inference="i1"))
    rest = await api.feedback.ListFeedback(
        pb.ListFeedbackRequest(page_size=2, inference="i1", page_token=first.next_page_token)
    )
    assert {each.id for each in (*first.feedback, *rest.feedback)} == {rating.id, comment.id, correction.id}


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({"metric": "rating", "number": 1.5}, r"number: is 1\.5"),
        ({"metric": "rating"}, "number: a rating is given in number"),
        ({"metric": "correction", "correction": {}}, "correction: is empty"),
        ({"metric": "correction", "correction": {"output": [{"role": "ROLE_USER"}]}}, "role: must be ROLE_ASSISTANT"),
        (
            {"metric": "correction", "correction": {"output": [{"role": "ROLE_ASSISTANT"}] * 2}},
            "correction.output: has 2 messages",
        ),
        (
            {
                "metric": "correction",
                "correction": {"output": [{"role": "ROLE_ASSISTANT", "parts": [{"text": "It is\nwrong."}]}]},
            },
            "equals the recorded answer",
        ),
    ],
)
async def test_what_cannot_be_taken_is_refused(api: ApiClient, fields: dict[str, object], reported: str) -> None:
    api.harness.inferences.put("i1")

    with pytest.raises(InvalidInput, match=reported):
        await api.submit(**fields)


async def test_a_label_key_that_mongodb_cannot_give_back_is_refused(stack: Addresses) -> None:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("feedback")]
    harness = FeedbackHarness()
    stored = MongoAggregates(
        database["feedback"], codec=FEEDBACK, topic="t", source="/t", missing=FeedbackNotFound, lists=LISTS
    )
    harness.submit = replace(harness.submit, feedback=stored)
    harness.inferences.put("i1")

    async with open_api(harness) as api:
        for labels in ({"$ref": "a", "$id": "b"}, {"a\0b": "c"}):
            with pytest.raises(InvalidInput, match="labels: has the key"):
                await api.submit(metric="rating", number=1, labels=labels)

    assert await database["feedback"].count_documents({}) == 0
    client.close()


async def test_a_time_that_is_none_is_refused(api: ApiClient) -> None:
    feedback = feedback_pb2.Feedback(inference="i1", metric="rating", number=1)
    feedback.observe_time.seconds = 2**60

    with pytest.raises(InvalidInput, match="observe_time: has 1152921504606846976 seconds"):
        await api.feedback.SubmitFeedback(pb.SubmitFeedbackRequest(feedback=feedback))


async def test_an_unknown_inference_is_not_found_and_calls_without_a_project_are_refused(api: ApiClient) -> None:
    with pytest.raises(NotFound) as refused:
        await api.submit(metric="rating", number=1)
    assert refused.value.reason == "INFERENCE_NOT_FOUND"
    async with admin_channel(f"127.0.0.1:{api.port}", project="No project") as channel:
        with pytest.raises(Unauthenticated):
            await FeedbackServiceStub(channel).ListFeedback(pb.ListFeedbackRequest())


async def test_a_person_is_erased(api: ApiClient) -> None:
    api.harness.inferences.put("i1")
    given = await api.submit(metric="comment", comment="My name is Ada.")

    would_be = await api.feedback.EraseEndUser(pb.EraseEndUserRequest(end_user="u1", validate_only=True))
    assert (await api.feedback.GetFeedback(pb.GetFeedbackRequest(id=given.id))).feedback == given
    erased = await api.feedback.EraseEndUser(pb.EraseEndUserRequest(end_user="u1", request_id="r1"))

    assert (would_be.erased, erased.erased) == (1, 1)
    with pytest.raises(NotFound):
        await api.feedback.GetFeedback(pb.GetFeedbackRequest(id=given.id))
    with pytest.raises(InvalidInput, match="end_user: is empty"):
        await api.feedback.EraseEndUser(pb.EraseEndUserRequest())


async def test_what_a_curation_refuses_is_listed_by_reason_in_both_orders(api: ApiClient) -> None:
    await api.create(max_repeats=1, new_examples=100)
    given = [
        await api.harness.correct(number, text="Buy at evil.example.", end_user="u1", question=f"What is {number}?")
        for number in range(3)
    ]
    await api.harness.work()

    async def listed(*, order_by: str = "", page_size: int = 0, filter_text: str = "") -> list[str]:
        page = await api.curations.ListRefusedExamples(
            curations_pb.ListRefusedExamplesRequest(
                curation="sft", order_by=order_by, page_size=page_size, filter=filter_text
            )
        )
        assert {(each.reason, each.end_user, each.rater) for each in page.examples} <= {("REPEATED_TEXT", "u1", "user")}
        return [each.feedback for each in page.examples]

    assert await listed() == [given[1].id, given[2].id]
    assert await listed(order_by="observe_time desc", page_size=1) == [given[2].id]
    assert await listed(filter_text='reason = "CONTRADICTED"') == []
    with pytest.raises(InvalidInput, match="order_by"):
        await listed(order_by="create_time")
    shown = (await api.curations.GetCuration(curations_pb.GetCurationRequest(id="sft"))).curation
    assert (shown.max_repeats, dict(shown.progress.refused)) == (1, {"REPEATED_TEXT": 2})


async def test_a_curation_is_made_changed_and_deleted(api: ApiClient) -> None:
    created = await api.create()
    assert (created.project, created.progress.message) == (
        "acme",
        "0 of 3 new examples, or fewer from 2026-01-08T12:00:00+00:00 on",
    )
    assert created.at_latest_every.ToTimedelta().days == 7
    with pytest.raises(AlreadyExists):
        await api.create()

    update = curations_pb.UpdateCurationRequest(
        curation=curation_pb2.Curation(id="sft", etag=created.etag, paused=True),
        update_mask=FieldMask(paths=["paused", "at_latest_every"]),
    )
    changed = (await api.curations.UpdateCuration(update)).curation
    assert (changed.paused, changed.HasField("at_latest_every"), changed.new_examples) == (True, False, 3)
    update.request_id = "again"
    with pytest.raises(Conflict):
        await api.curations.UpdateCuration(update)

    listed = await api.curations.ListCurations(curations_pb.ListCurationsRequest())
    assert [each.labels for each in listed.curations] == [{"tidemill.dev/loop": "helpdesk"}]
    await api.curations.DeleteCuration(curations_pb.DeleteCurationRequest(id="sft", etag=changed.etag))
    with pytest.raises(NotFound):
        await api.curations.GetCuration(curations_pb.GetCurationRequest(id="sft"))


LEFT = {
    "id": "left",
    "kind": "FEEDBACK_METRIC_KIND_CATEGORY",
    "choices": ["bought", "gone"],
    "value": {"unit": "EUR", "amounts": {"bought": 30}},
    "weights": {"reviewer": 0},
    "labels": {"a": "b"},
}


async def test_a_metric_is_declared_given_changed_and_deleted(api: ApiClient) -> None:
    api.harness.inferences.put("i1")
    create = ParseDict({"metric": LEFT}, metrics_pb.CreateFeedbackMetricRequest())
    created = (await api.metrics.CreateFeedbackMetric(create)).metric
    shown = MessageToDict(created)
    assert {name: shown[name] for name in ("id", "kind", "choices", "value", "labels", "project")} == {
        **{name: LEFT[name] for name in ("id", "kind", "choices", "value", "labels")},
        "project": "acme",
    }
    assert (shown["optimise"], shown["weights"]) == (
        "FEEDBACK_METRIC_OPTIMISE_NONE",
        {"user": 1.0, "reviewer": 0.0, "judge": 1.0},
    )

    given = await api.submit(metric="left", category="bought")
    assert (given.WhichOneof("value"), given.category, given.state) == (
        "category",
        "bought",
        feedback_pb2.FEEDBACK_STATE_RECORDED,
    )

    asked = metrics_pb.GetFeedbackMetricFiguresRequest(id="left", deployment="helpdesk")
    reply = await api.metrics.GetFeedbackMetricFigures(asked)
    [figures] = reply.figures
    assert (figures.variant, figures.rollout, figures.count, figures.business_value, dict(figures.choices)) == (
        "candidate",
        "r1",
        1,
        30,
        {"bought": 1},
    )
    assert (reply.unit, reply.truncated, figures.HasField("mean")) == ("EUR", False, False)

    update = metrics_pb.UpdateFeedbackMetricRequest(metric=created, update_mask=FieldMask(paths=["choices", "value"]))
    update.metric.choices[:] = ["gone", "escalated"]
    update.metric.ClearField("value")
    update.metric.ClearField("kind")
    changed = (await api.metrics.UpdateFeedbackMetric(update)).metric
    assert (list(changed.choices), changed.HasField("value"), changed.kind) == (
        ["gone", "escalated"],
        False,
        created.kind,
    )
    with pytest.raises(InvalidInput, match="category: is 'bought'; left is one of gone, escalated"):
        await api.submit(metric="left", category="bought")

    await api.metrics.DeleteFeedbackMetric(metrics_pb.DeleteFeedbackMetricRequest(id="left", etag=changed.etag))
    assert not (await api.metrics.ListFeedbackMetrics(metrics_pb.ListFeedbackMetricsRequest())).metrics
    with pytest.raises(NotFound) as refused:
        await api.metrics.GetFeedbackMetric(metrics_pb.GetFeedbackMetricRequest(id="left"))
    assert refused.value.reason == "FEEDBACK_METRIC_NOT_FOUND"


@pytest.mark.parametrize("fields", [{"id": "copied"}, {"id": "copied", "kind": 99}])
async def test_a_metric_without_a_kind_that_there_is_is_refused(api: ApiClient, fields: dict[str, object]) -> None:
    create = ParseDict({"metric": fields}, metrics_pb.CreateFeedbackMetricRequest())

    with pytest.raises(InvalidInput, match=r"metric\.kind"):
        await api.metrics.CreateFeedbackMetric(create)


async def test_progress_is_shown(api: ApiClient) -> None:
    await api.create()
    await api.harness.correct(1)
    await api.harness.work()

    shown = (await api.curations.GetCuration(curations_pb.GetCurationRequest(id="sft"))).curation.progress

    assert (shown.new_examples, shown.examples, shown.completions) == (1, 1, 0)
    assert shown.message.startswith("1 of 3 new examples")


@pytest.mark.parametrize("duration", ["315576000000s", "-1s", "0.5s"])
async def test_a_time_that_no_rule_can_have_is_refused(api: ApiClient, duration: str) -> None:
    with pytest.raises(InvalidInput, match="at_latest_every"):
        await api.create(at_latest_every=duration)
