"""What feedback's API, inference's records and MongoDB are to judges."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.judges.harness import InMemoryJudgedItems
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import review_pb2
from tidemill.feedback.v1 import review_service_pb2 as reviews
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceServicer, add_ReviewServiceServicer_to_server
from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.feedback import FeedbackReviewQueues, UnknownReviewQueues
from tidemill_evaluator.judges.inference import InferenceRecords
from tidemill_evaluator.judges.mongo_items import MongoJudgedItems, items_of_user
from tidemill_evaluator.judges.ports import JudgedItem, JudgedItems, LabelledItem, Measured, Record, ReviewField
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope, Target
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.calls import Context, errors_of
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences, message_of

JUDGED = JudgedItem(item="i1", inference="a1", end_user="ada", label=1.0, score=0.75)
FIRST = Measured(judge="tone", version="v1", measurement=1)


class Reviews(ReviewServiceServicer):
    """A queue whose items come on two pages."""

    def __init__(self) -> None:
        self.listed: list[reviews.ListReviewItemsRequest] = []

    async def GetReviewQueue(  # noqa: N802 - as in the contract
        self, request: reviews.GetReviewQueueRequest, context: Context
    ) -> reviews.GetReviewQueueResponse:
        async with errors_of(context):
            if request.id != "answers":
                message = "there is no such queue"
                raise NotFound(message)
        fields = [
            review_pb2.LabelField(name="right", kind=review_pb2.LABEL_KIND_BOOLEAN),
            review_pb2.LabelField(name="stars", kind=review_pb2.LABEL_KIND_NUMBER, min=1, max=5),
            review_pb2.LabelField(name="open", kind=review_pb2.LABEL_KIND_NUMBER, min=1),
            review_pb2.LabelField(name="tone", kind=review_pb2.LABEL_KIND_CATEGORY, choices=["a"]),
        ]
        return reviews.GetReviewQueueResponse(queue=review_pb2.ReviewQueue(id="answers", fields=fields))

    async def ListReviewItems(  # noqa: N802 - as in the contract
        self, request: reviews.ListReviewItemsRequest, _context: Context
    ) -> reviews.ListReviewItemsResponse:
        self.listed.append(request)
        if request.page_token:
            return reviews.ListReviewItemsResponse(items=[item("i4", right=False)])
        document = item("i2", right=True)
        document.subject.kind = review_pb2.SUBJECT_KIND_DOCUMENT
        first = [item("i1", right=True, stars=2), document, item("i3", stars=5)]
        return reviews.ListReviewItemsResponse(items=first, next_page_token="next")  # noqa: S106 - a page


def item(name: str, *, right: bool | None = None, stars: float | None = None) -> review_pb2.ReviewItem:
    found = review_pb2.ReviewItem(id=name)
    found.subject.kind, found.subject.id = review_pb2.SUBJECT_KIND_INFERENCE, f"a-{name}"
    if right is not None:
        found.resolved.labels.add(field="right", boolean=right)
    if stars is not None:
        found.resolved.labels.add(field="stars", number=stars)
    return found


async def test_resolved_answers_that_have_the_field_are_read_page_by_page_latest_first() -> None:
    served = Reviews()  # type: ignore[abstract] # it has what evaluator calls
    server = grpc.aio.server()
    add_ReviewServiceServicer_to_server(served, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        queues = FeedbackReviewQueues(channel)
        fields = await queues.fields(ADA, "answers")
        assert fields is not None
        right = await queues.labelled(ADA, "answers", fields["right"], limit=9)
        stars = await queues.labelled(ADA, "answers", fields["stars"], limit=9)
        one = await queues.labelled(ADA, "answers", fields["right"], limit=1)
        unknown = await queues.fields(ADA, "others")
    await server.stop(1.0)

    assert fields == {
        "right": ReviewField(name="right", boolean=True),
        "stars": ReviewField(name="stars", low=1.0, high=5.0),
    }
    assert unknown is None
    assert right == [
        LabelledItem(id="i1", inference="a-i1", label=1.0),
        LabelledItem(id="i4", inference="a-i4", label=0.0),
    ]
    assert [(each.id, each.label) for each in stars] == [("i1", 0.25), ("i3", 1.0)]
    assert [each.id for each in one] == ["i1"]
    assert served.listed[0].state == review_pb2.REVIEW_ITEM_STATE_RESOLVED
    assert served.listed[0].order_by == "create_time desc"


async def test_a_field_that_hardly_any_item_has_is_not_sought_in_the_whole_queue() -> None:
    class Endless(Reviews):
        async def ListReviewItems(  # noqa: N802 - as in the contract
            self, request: reviews.ListReviewItemsRequest, _context: Context
        ) -> reviews.ListReviewItemsResponse:
            self.listed.append(request)
            return reviews.ListReviewItemsResponse(items=[item("i1", stars=2)], next_page_token="next")  # noqa: S106

    served = Endless()  # type: ignore[abstract] # it has what evaluator calls
    server = grpc.aio.server()
    add_ReviewServiceServicer_to_server(served, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        field = ReviewField(name="right", boolean=True)
        found = await FeedbackReviewQueues(channel).labelled(ADA, "answers", field, limit=200)
    await server.stop(1.0)

    assert found == []
    assert len(served.listed) == 10


async def test_without_feedbacks_address_the_error_names_the_setting() -> None:
    with pytest.raises(PreconditionFailed, match="EVALUATOR_FEEDBACK_ADDRESS"):
        await UnknownReviewQueues().fields(ADA, "answers")


async def test_a_record_is_judged_by_its_last_question_and_only_with_its_texts() -> None:
    known = StubDeployments()  # type: ignore[abstract] # it has what evaluator calls
    inferences = StubInferences(known)  # type: ignore[abstract]
    said = [
        message_of(content_pb2.ROLE_SYSTEM, "Be kind."),
        message_of(content_pb2.ROLE_USER, "Hi"),
        message_of(content_pb2.ROLE_ASSISTANT, "Hello"),
        message_of(content_pb2.ROLE_USER, "Why?"),
    ]
    output = [message_of(content_pb2.ROLE_ASSISTANT, "So.")]
    whole = inference_pb2.Inference(id="a1", messages=said, output=output, end_user="ada")
    whole.variant.model = "helper@1"
    inferences.add(whole, project="acme")
    inferences.add(inference_pb2.Inference(id="a2", end_user="ada"), project="acme")
    inferences.add(inference_pb2.Inference(id="a3", messages=said, output=output, restricted=True), project="acme")
    turn = inference_pb2.Inference(id="a5", messages=said, output=output, conversation="c1")
    inferences.add(turn, project="acme")
    server = grpc.aio.server()
    add_InferenceServiceServicer_to_server(inferences, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        found = [await InferenceRecords(channel).read(ADA, name) for name in ("a1", "a2", "a3", "a4", "a5")]
    await server.stop(1.0)

    earlier = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")]
    assert found == [
        Record(material=Material(question="Why?", answer="So.", earlier=earlier), end_user="ada", model="helper@1"),
        *[None] * 4,
    ]


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture(params=["in memory", "mongodb"])
def judged(request: pytest.FixtureRequest) -> JudgedItems:
    if request.param == "in memory":
        return InMemoryJudgedItems()
    database: Database = request.getfixturevalue("database")
    return MongoJudgedItems(database["judged_items"])


async def test_judgements_are_read_as_they_were_kept_of_their_judge_and_version_alone(judged: JudgedItems) -> None:
    again = replace(JUDGED, again=0.5)
    await judged.keep("acme", FIRST, JUDGED)
    await judged.keep("acme", FIRST, again)
    await judged.keep("globex", FIRST, JUDGED)

    assert await judged.read("acme", FIRST) == {"i1": again}
    for other in ({"version": "v2"}, {"judge": "other"}, {"measurement": 2}):
        assert await judged.read("acme", replace(FIRST, **other)) == {}
    await judged.forget_others("acme", "tone", measurements=[2, 1])
    assert await judged.read("acme", FIRST)
    await judged.forget_others("acme", "tone", measurements=[2, 0])
    assert await judged.read("acme", FIRST) == {}
    assert await judged.read("globex", FIRST)


async def test_judgements_of_an_end_users_answers_are_erased_with_the_end_user(database: Database) -> None:
    items = MongoJudgedItems(database["judged_items"])
    await items.ensure_indexes()
    for project in ("acme", "globex"):
        await items.keep(project, FIRST, JUDGED)
    erase = documents("judged answers", database["judged_items"], where=items_of_user)

    assert await erase.erase(Target(project="acme", scope=Scope.END_USER, subject="ada")) == 1
    assert (await items.read("acme", FIRST), len(await items.read("globex", FIRST))) == ({}, 1)
