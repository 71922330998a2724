"""gRPC and inference's API: what crosses the edges of judges."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.judges.harness import Judging, points
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill.evaluator.v1 import judge_service_pb2 as rpc
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceStub, add_JudgeServiceServicer_to_server
from tidemill.inference.v1 import configuration_pb2, deployment_pb2, inference_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.judges.domain.form import Form
from tidemill_evaluator.judges.grpc import GrpcJudgeService
from tidemill_evaluator.judges.inference import InferenceJudges
from tidemill_evaluator.judges.ports import JudgeDeployment
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences


async def test_a_judge_is_declared_changed_and_deleted_over_grpc() -> None:
    judging = Judging()
    service = GrpcJudgeService(judges=judging.crud, measure=judging.start, score=judging.score)
    server = DirectServer(
        settings(), [(add_JudgeServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = JudgeServiceStub(channel)
        judge = pb.Judge(
            id="tone",
            deployment="grader",
            rubric="Is it friendly?",
            criteria=[pb.JudgeCriterion(name="tone", scale=3)],
            reads=[pb.JUDGE_INPUT_PASSAGES],
        )
        created = (await api.CreateJudge(rpc.CreateJudgeRequest(judge=judge))).judge
        judge.rubric = "Is it true?"
        mask = FieldMask(paths=["rubric"])
        updated = (await api.UpdateJudge(rpc.UpdateJudgeRequest(judge=judge, update_mask=mask))).judge
        measuring = rpc.MeasureJudgeRequest(id="tone", queue="answers", field="right")
        with pytest.raises(InvalidInput, match="reads PASSAGES"):
            await api.MeasureJudge(measuring)
        blind = pb.Judge(id="blind", deployment="grader", rubric="x", min_agreement=0.7)
        await api.CreateJudge(rpc.CreateJudgeRequest(judge=blind))
        measuring.id = "blind"
        measured = (await api.MeasureJudge(measuring)).judge
        await api.DeleteJudge(rpc.DeleteJudgeRequest(id="blind"))
        read = (await api.GetJudge(rpc.GetJudgeRequest(id="tone"))).judge
        deleted = (await api.DeleteJudge(rpc.DeleteJudgeRequest(id="tone", etag=read.etag))).judge
        listed = (await api.ListJudges(rpc.ListJudgesRequest())).judges
    await server.stop(1.0)

    assert (created.version, created.mode, created.project) == (1, pb.JUDGE_MODE_POINTWISE, "acme")
    assert (updated.version, updated.rubric, updated.criteria[0].scale) == (2, "Is it true?", 3)
    assert MessageToDict(read) == MessageToDict(updated)
    assert (deleted.id, list(listed)) == ("tone", [])
    assert (measured.min_agreement, measured.measurement.state) == (0.7, pb.JUDGE_MEASUREMENT_STATE_RUNNING)
    assert (measured.measurement.queue, measured.measurement.field) == ("answers", "right")
    assert [each.id for each in judging.enqueued] == ["blind"]


async def test_an_answer_is_scored_over_grpc_and_one_that_is_not_judged_has_no_score() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*(1.0, 0.0) * 20)
    await judging.measured()
    service = GrpcJudgeService(judges=judging.crud, measure=judging.start, score=judging.score)
    server = DirectServer(
        settings(), [(add_JudgeServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    said = iter([points(4), "fine", "very fine"])
    judging.models.says = lambda _: next(said)
    earlier = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="Hello.")])
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = JudgeServiceStub(channel)
        pinned = await api.PinJudge(rpc.PinJudgeRequest(id="tone", model="smollm2@1"))
        request = rpc.ScoreAnswerRequest(
            id="tone", version=pinned.version, question="Why?", answer="So.", earlier=[earlier]
        )
        good, unjudged = [await api.ScoreAnswer(request) for _ in range(2)]
        request.earlier[0].role = content_pb2.ROLE_TOOL
        with pytest.raises(InvalidInput, match=r"earlier\[0\].role"):
            await api.ScoreAnswer(request)
    await server.stop(1.0)

    assert (pinned.version.startswith("tone@1-"), pinned.calls_per_answer) == (True, 1)
    assert (good.score, unjudged.HasField("score")) == (0.75, False)


async def test_a_form_is_asked_as_guided_json_whose_record_keeps_no_text() -> None:
    known = StubDeployments()  # type: ignore[abstract] # it has what evaluator calls
    live = configuration_pb2.Configuration(digest="g1", model="grader@1")
    live.retrieval.collection = "handbook"
    known.add(deployment_pb2.Deployment(id="grader", live=live))
    inferences = StubInferences(known, answers=lambda _: points(4))  # type: ignore[abstract]
    server = grpc.aio.server()
    add_DeploymentServiceServicer_to_server(known, server)
    add_InferenceServiceServicer_to_server(inferences, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    form = Form(instructions="Judge.", material='{"answer": "x"}', schema='{"type": "object"}')
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        judges = InferenceJudges(channel, answer_timeout_s=20.0)
        deployment = await judges.deployment(ADA, "grader")
        first, again = [await judges.ask(ADA, "grader", form, request_id="r1", deadline_s=20.0) for _ in range(2)]
    await server.stop(1.0)

    assert deployment == JudgeDeployment(configuration="g1", model="grader@1", deadline_s=20.0, searches="handbook")
    assert (first.text, first.configuration, first.model, first.whole) == (points(4), "g1", "grader@1", True)
    assert (again.text, again.whole) == ("", False)
    (asked,) = inferences.asked
    assert [(each.role, each.parts[0].text) for each in asked.messages] == [
        (content_pb2.ROLE_SYSTEM, "Judge."),
        (content_pb2.ROLE_USER, '{"answer": "x"}'),
    ]
    assert (asked.output_format.schema_json, asked.output_format.strict) == (form.schema, True)
    assert (asked.purpose, asked.record_mode) == (
        inference_pb2.PURPOSE_EVALUATION,
        deployment_pb2.RECORD_MODE_METADATA,
    )
