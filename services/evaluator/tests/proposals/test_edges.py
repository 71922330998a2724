"""What crosses the edges of proposals: gRPC, feedback's API, inference's records and MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.proposals.harness import MANUAL, InMemoryProposedCases, Proposing
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import suite_pb2
from tidemill.evaluator.v1 import suite_proposal_pb2 as pb
from tidemill.evaluator.v1 import suite_proposal_service_pb2 as rpc
from tidemill.evaluator.v1.suite_proposal_service_pb2_grpc import (
    SuiteProposalServiceStub,
    add_SuiteProposalServiceServicer_to_server,
)
from tidemill.feedback.v1 import feedback_pb2, feedback_service_pb2, review_pb2, review_service_pb2
from tidemill.feedback.v1.feedback_service_pb2_grpc import (
    FeedbackServiceServicer,
    add_FeedbackServiceServicer_to_server,
)
from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceServicer, add_ReviewServiceServicer_to_server
from tidemill.inference.v1 import deployment_pb2, inference_pb2, inference_service_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_evaluator.proposals.domain.candidate import Candidate, CandidateFlaw, ReferenceFrom
from tidemill_evaluator.proposals.domain.proposal import LiveAnswers, Proposal
from tidemill_evaluator.proposals.feedback import FeedbackReviews, UnknownReviews
from tidemill_evaluator.proposals.grpc import GrpcSuiteProposalService
from tidemill_evaluator.proposals.inference import InferenceLiveRecords
from tidemill_evaluator.proposals.mongo import MongoProposedCases, candidates_of_user, candidates_with_document
from tidemill_evaluator.proposals.ports import LiveAnswer, ProposedCases, Reviewed
from tidemill_evaluator.suites.domain.cases import Case, Context, Role, Turn
from tidemill_evaluator.suites.mongo import MongoCaseOrigins
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope, Target
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.mapping import unsent
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.calls import Context as Call
from tidemill_testkit.stubs.calls import errors_of
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences, message_of

USER, ASSISTANT = content_pb2.ROLE_USER, content_pb2.ROLE_ASSISTANT
LIVE = LiveAnswers(deployment="helpdesk", queue="answers", right_field="right", text_field="better")


async def test_cases_are_proposed_read_accepted_and_listed_over_grpc() -> None:
    proposing = Proposing()
    service = GrpcSuiteProposalService(
        proposals=proposing.crud, propose=proposing.propose, accept=proposing.accept, refuse=proposing.refuse
    )
    server = DirectServer(
        settings(), [(add_SuiteProposalServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    case = suite_pb2.Case(id="vpn", question="How?", reference="So", end_user="mallory", proposal="p0")
    case.rests_on.add(document="manual", version=3)
    given = [
        pb.ProposedCase(case=case, passage="So it is."),
        pb.ProposedCase(case=suite_pb2.Case(id="x", question="What?"), flaw=pb.CANDIDATE_FLAW_UNSUPPORTED, why="no"),
    ]
    asked = pb.SuiteProposal(suite="truth", generated_by="writer", coverage=pb.Coverage(label="topic", at_least=9))
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = SuiteProposalServiceStub(channel)
        made = (
            await api.CreateSuiteProposal(rpc.CreateSuiteProposalRequest(proposal=asked, candidates=given))
        ).proposal
        read = (await api.GetSuiteProposal(rpc.GetSuiteProposalRequest(id=made.id))).proposal
        accepting = rpc.AcceptSuiteProposalRequest(id=made.id, note="good", etag=read.etag)
        accepted = (await api.AcceptSuiteProposal(accepting)).proposal
        other = (
            await api.CreateSuiteProposal(rpc.CreateSuiteProposalRequest(proposal=asked, candidates=given[1:]))
        ).proposal
        refused = (await api.RefuseSuiteProposal(rpc.RefuseSuiteProposalRequest(id=other.id))).proposal
        listed = (await api.ListSuiteProposals(rpc.ListSuiteProposalsRequest(filter='suite = "truth"'))).proposals
        await api.DeleteSuiteProposal(rpc.DeleteSuiteProposalRequest(id=other.id))
    await server.stop(1.0)

    assert (made.state, made.case_count, dict(made.refused_counts)) == (
        pb.SUITE_PROPOSAL_STATE_PROPOSED,
        1,
        {"UNSUPPORTED": 1},
    )
    assert (made.coverage.at_least, [each.proposed for each in made.slices]) == (9, [1])
    assert list(read.candidates) == list(made.candidates)
    assert [(each.case.id, each.flaw, each.why, each.passage) for each in read.candidates] == [
        ("vpn", pb.CANDIDATE_FLAW_UNSPECIFIED, "", ""),
        ("x", pb.CANDIDATE_FLAW_UNSUPPORTED, "no", ""),
    ]
    shown = read.candidates[0].case
    assert (shown.end_user, shown.proposal, shown.rests_on[0].version) == ("", "", 3), "who asked is the evaluator's"
    assert (accepted.state, accepted.accepted_version, accepted.note) == (pb.SUITE_PROPOSAL_STATE_ACCEPTED, 1, "good")
    assert refused.state == pb.SUITE_PROPOSAL_STATE_REFUSED
    assert {(each.id, len(each.candidates)) for each in listed} == {(made.id, 0), (other.id, 0)}


def test_all_of_a_proposal_is_shown_but_the_digest_of_its_request_and_what_was_read_last() -> None:
    assert unsent(pb.SuiteProposal, Proposal) == {"asked_by", "read_to"}
    assert unsent(pb.ProposedCase, Candidate) == set()


class Feedback(FeedbackServiceServicer):
    """Reactions on two pages."""

    async def ListFeedback(  # noqa: N802 - as in the contract
        self, request: feedback_service_pb2.ListFeedbackRequest, _context: Call
    ) -> feedback_service_pb2.ListFeedbackResponse:
        assert (request.deployment, request.order_by) == ("helpdesk", "create_time desc")
        if request.page_token:
            return feedback_service_pb2.ListFeedbackResponse(
                feedback=[correction("i2", "other", by="mia"), correction("i3", "right", rater="reviewer")]
            )
        rating = feedback_pb2.Feedback(
            inference="i0", metric="rating", number=1, counts=True, state=feedback_pb2.FEEDBACK_STATE_RECORDED
        )
        void = correction("i4", "void")
        void.counts = False
        return feedback_service_pb2.ListFeedbackResponse(
            feedback=[rating, void, correction("i1", "right"), correction("i2", "this")],
            next_page_token="next",  # noqa: S106 - a page
        )


def correction(inference: str, text: str, *, by: str = "ada", rater: str = "user") -> feedback_pb2.Feedback:
    return feedback_pb2.Feedback(
        inference=inference,
        metric="correction",
        correction=feedback_pb2.Correction(output=[message_of(ASSISTANT, text)]),
        end_user=by,
        rater=rater,
        counts=True,
        state=feedback_pb2.FEEDBACK_STATE_RECORDED,
    )


class Reviews(ReviewServiceServicer):
    """A queue with a boolean and a text."""

    async def GetReviewQueue(  # noqa: N802 - as in the contract
        self, request: review_service_pb2.GetReviewQueueRequest, context: Call
    ) -> review_service_pb2.GetReviewQueueResponse:
        async with errors_of(context):
            if request.id != "answers":
                message = "there is no such queue"
                raise NotFound(message)
        fields = [
            review_pb2.LabelField(name="right", kind=review_pb2.LABEL_KIND_BOOLEAN),
            review_pb2.LabelField(name="better", kind=review_pb2.LABEL_KIND_TEXT),
        ]
        return review_service_pb2.GetReviewQueueResponse(queue=review_pb2.ReviewQueue(id="answers", fields=fields))

    async def ListReviewItems(  # noqa: N802 - as in the contract
        self, request: review_service_pb2.ListReviewItemsRequest, _context: Call
    ) -> review_service_pb2.ListReviewItemsResponse:
        assert (request.queue, request.state) == ("answers", review_pb2.REVIEW_ITEM_STATE_RESOLVED)
        document = item("d1", right=True)
        document.subject.kind = review_pb2.SUBJECT_KIND_DOCUMENT
        items = [document, item("i1", right=True), item("i2", right=False), item("i3", right=False, better="so")]
        return review_service_pb2.ListReviewItemsResponse(items=items)


def item(inference: str, *, right: bool, better: str = "") -> review_pb2.ReviewItem:
    found = review_pb2.ReviewItem(id=f"item of {inference}")
    found.subject.kind, found.subject.id = review_pb2.SUBJECT_KIND_INFERENCE, inference
    found.resolved.labels.add(field="right", boolean=right)
    if better:
        found.resolved.labels.add(field="better", text=better)
    return found


@pytest.fixture
async def reviews() -> AsyncIterator[FeedbackReviews]:
    server = grpc.aio.server()
    add_FeedbackServiceServicer_to_server(Feedback(), server)  # type: ignore[abstract] # it has what evaluator calls
    add_ReviewServiceServicer_to_server(Reviews(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        yield FeedbackReviews(channel)
    await server.stop(1.0)


async def test_corrections_that_count_are_read_and_answers_that_are_corrected_differently_are_known(
    reviews: FeedbackReviews,
) -> None:
    assert await reviews.corrected(ADA, "helpdesk") == [
        Reviewed(inference="i1", reference="right", by="ada"),
        Reviewed(inference="i2", reference="this", by="ada", contradicted=True),
        Reviewed(inference="i3", reference="right"),
    ]


async def test_resolved_answers_are_right_or_have_a_better_text(reviews: FeedbackReviews) -> None:
    assert await reviews.resolved(ADA, LIVE) == [
        Reviewed(inference="i1"),
        Reviewed(inference="i3", reference="so"),
    ]


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"queue": "none"}, "queue", "there is no such queue"),
        ({"right_field": "better"}, "right_field", "name a boolean field of the queue: right"),
        ({"text_field": "gone"}, "text_field", "name a text field of the queue: better"),
    ],
)
async def test_a_queue_or_field_that_says_nothing_is_refused(
    reviews: FeedbackReviews, changed: dict[str, str], field: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        await reviews.resolved(ADA, replace(LIVE, **changed))  # type: ignore[arg-type] # fields of it

    assert [each.field for each in refused.value.violations] == [f"proposal.live.{field}"]


async def test_without_feedbacks_address_the_error_names_the_setting() -> None:
    with pytest.raises(PreconditionFailed, match="EVALUATOR_FEEDBACK_ADDRESS"):
        await UnknownReviews().resolved(ADA, LIVE)


async def test_a_live_answer_is_read_with_all_that_it_was_asked_with() -> None:
    deployments = StubDeployments()  # type: ignore[abstract] # it has what evaluator calls
    deployments.add(deployment_pb2.Deployment(id="helpdesk"), project="acme")
    inferences = StubInferences(deployments)  # type: ignore[abstract] # ditto
    passages = [content_pb2.Passage(id=str(place), document="manual", version=3) for place in (1, 2)]
    known: dict[str, Any] = {
        "deployment": "helpdesk",
        "state": inference_pb2.INFERENCE_STATE_COMPLETED,
        "purpose": inference_pb2.PURPOSE_LIVE,
        "output": [message_of(ASSISTANT, "So.")],
        "passages": passages,
        "end_user": "ada",
        "labels": {"topic": "vpn"},
    }
    prompt = inference_service_pb2.GetInferencePromptResponse(
        question="Why?", earlier=[message_of(USER, "Hi"), message_of(ASSISTANT, "Hello")], principals=["group:it"]
    )
    tool = inference_service_pb2.GetInferencePromptResponse(question="Why?")
    tool.earlier.add(role=content_pb2.ROLE_TOOL)
    others: dict[str, dict[str, Any]] = {
        "a2": {"purpose": inference_pb2.PURPOSE_EVALUATION},
        "a3": {"restricted": True},
        "a4": {"output": []},
        "a5": {},
        "a6": {},
    }
    for name, fields in {"a1": {}, **others}.items():
        record = inference_pb2.Inference(id=name, **(known | fields))
        shown = {"a1": prompt, "a6": tool}.get(name)
        inferences.add(record, project="acme", prompt=shown)
    server = grpc.aio.server()
    add_InferenceServiceServicer_to_server(inferences, server)
    add_DeploymentServiceServicer_to_server(deployments, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        records = InferenceLiveRecords(channel)
        first, *rest = [await records.read(ADA, name) for name in ("a1", *others, "gone")]
        exist = [await records.deployment_exists(ADA, name) for name in ("helpdesk", "nope")]
    await server.stop(1.0)

    assert exist == [True, False]
    assert first == LiveAnswer(
        deployment="helpdesk",
        question="Why?",
        answer="So.",
        context=Context(earlier=(Turn(Role.USER, "Hi"), Turn(Role.ASSISTANT, "Hello")), principals=("group:it",)),
        end_user="ada",
        labels={"topic": "vpn"},
        rests_on=(MANUAL,),
    )
    expected = ["not a live answer", "may not read", "no answer", "cannot be shown", "uses tools", "no inference gone"]
    assert all(isinstance(each, str) and said in each for each, said in zip(rest, expected, strict=True)), rest


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture(params=["in memory", "mongodb"])
def proposed(request: pytest.FixtureRequest) -> ProposedCases:
    if request.param == "in memory":
        return InMemoryProposedCases()
    database: Database = request.getfixturevalue("database")
    return MongoProposedCases(database["proposed_cases"])


CASE = Case(
    id="i1",
    question="How?",
    reference="So",
    context=Context(earlier=(Turn(Role.USER, "Hi"),), variables={"a": 1.0}, principals=("group:it",)),
    end_user="ada",
    corrected_by="bob",
    rests_on=(MANUAL,),
)
CANDIDATES = [
    Candidate(case=CASE, reference_from=ReferenceFrom.CORRECTION),
    Candidate(case=Case(id="i2", question="What?", reference=""), flaw=CandidateFlaw.UNUSABLE, why="it is gone"),
]


async def test_candidates_are_read_as_they_were_kept_in_order(proposed: ProposedCases) -> None:
    await proposed.keep("acme", "p1", [*CANDIDATES, replace(CANDIDATES[1], passage="of a text")])
    await proposed.keep("acme", "p1", CANDIDATES)
    await proposed.keep("globex", "p1", CANDIDATES[:1])

    assert list(await proposed.read("acme", "p1")) == CANDIDATES
    assert list(await proposed.read("acme", "p2")) == []
    await proposed.forget("acme", "p1")
    assert list(await proposed.read("acme", "p1")) == []
    assert len(await proposed.read("globex", "p1")) == 1


async def test_candidates_are_erased_with_those_who_asked_or_corrected_them_and_with_documents(
    database: Database,
) -> None:
    store = MongoProposedCases(database["proposed_cases"])
    await store.ensure_indexes()
    of_user = documents("proposed cases", database["proposed_cases"], where=candidates_of_user)
    of_document = documents("proposed cases", database["proposed_cases"], where=candidates_with_document)
    steps = [
        (of_user, Target(project="acme", scope=Scope.END_USER, subject="ada")),
        (of_user, Target(project="acme", scope=Scope.END_USER, subject="bob")),
        (of_document, Target(project="acme", scope=Scope.DOCUMENT, subject="manual")),
    ]

    for step, target in steps:
        await store.keep("acme", "p1", CANDIDATES)
        assert await step.erase(target) == 1
        assert [each.case.id for each in await store.read("acme", "p1")] == ["i2"]


async def test_objects_with_cases_of_a_person_or_a_document_are_found_until_they_are_forgotten(
    database: Database,
) -> None:
    origins, evaluator = MongoCaseOrigins(database["suite_origins"]), Proposing().evaluator
    await origins.ensure_indexes()
    content = await evaluator.cases.put("acme", "truth", [CASE])
    await origins.keep("acme", "truth", content, [CASE])
    await origins.keep(
        "acme", "sent", replace(content, key="acme/sent/1"), [replace(CASE, end_user="", corrected_by="", rests_on=())]
    )

    (found,) = await origins.of_user("acme", "bob")
    assert (found.suite, found.content, found.size) == ("truth", content, 1)
    assert await origins.of_document("manual") == [found]
    assert await origins.of_user("globex", "bob") == await origins.of_user("acme", "carl") == []
    await origins.forget(found)
    assert await origins.of_document("manual") == []
