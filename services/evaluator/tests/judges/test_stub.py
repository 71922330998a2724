"""Evaluator and the stub that other services are tested with pin and score alike."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.judges.harness import Judging, material_of, points
from tidemill.content.v1.content_pb2 import Message
from tidemill.evaluator.v1 import judge_service_pb2 as rpc
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceStub, add_JudgeServiceServicer_to_server
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_core.grpc.context import bind_call
from tidemill_evaluator.judges.domain.form import Form
from tidemill_evaluator.judges.grpc import GrpcJudgeService
from tidemill_evaluator.judges.messages import material_of as material_in
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stubs.evaluator import StubJudges


@dataclass(frozen=True, kw_only=True)
class Api:
    """Clients of two projects, of which acme has the judge `tone`, which scores "good" and nothing else."""

    acme: JudgeServiceStub
    globex: JudgeServiceStub

    async def pinned(self) -> str:
        return (await self.acme.PinJudge(rpc.PinJudgeRequest(id="tone", model="smollm2@1"))).version


def _said(form: Form) -> str:
    return points(5) if material_of(form)["answer"] == "good" else "hm"


async def _score(request: rpc.ScoreAnswerRequest) -> float | None:
    return 1.0 if request.answer == "good" else None


@pytest.fixture(params=["evaluator", "stub"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    judging = Judging()
    await judging.with_judge()
    judging.review(*(1.0, 0.0) * 20)
    version = (await judging.measured()).agreement
    assert version
    judging.models.says = _said
    if request.param == "evaluator":
        service = GrpcJudgeService(judges=judging.crud, measure=judging.start, score=judging.score)
        served = [(add_JudgeServiceServicer_to_server, service)]
        server = DirectServer(settings(), served, access=access_of(), audit=RecordedCalls())
        await server.start()
        address = f"127.0.0.1:{server.port}"
        stop: Callable[[float], Awaitable[None]] = server.stop
    else:
        stub = StubJudges()  # type: ignore[abstract] # it has what others call
        stub.add("tone", version=version.version, says=_score, project="acme")
        plain = grpc.aio.server()
        add_JudgeServiceServicer_to_server(stub, plain)
        address, stop = f"127.0.0.1:{plain.add_insecure_port('127.0.0.1:0')}", plain.stop
        await plain.start()
    async with admin_channel(address, project="acme") as acme, admin_channel(address, project="globex") as globex:
        yield Api(acme=JudgeServiceStub(acme), globex=JudgeServiceStub(globex))
    await stop(1.0)


async def test_an_answer_has_the_score_of_the_pinned_judge_or_none(api: Api) -> None:
    request = rpc.ScoreAnswerRequest(id="tone", version=await api.pinned(), question="Why?", answer="good")
    good = await api.acme.ScoreAnswer(request)
    request.answer = "bad"
    unjudged = await api.acme.ScoreAnswer(request)

    assert (good.score, unjudged.HasField("score")) == (1.0, False)


async def test_a_judge_whose_own_model_would_be_trained_is_refused() -> None:
    judging = Judging()
    await judging.with_judge()
    service = GrpcJudgeService(judges=judging.crud, measure=judging.start, score=judging.score)

    bind_call(ADA, remaining_s=None)

    with pytest.raises(PreconditionFailed, match="answers of its own model, grader") as refused:
        await service.PinJudge(rpc.PinJudgeRequest(id="tone", model="smollm2@1", trained_model="grader"), None)

    assert refused.value.reason == "JUDGES_ITSELF"


async def test_an_answer_without_a_question_is_refused(api: Api) -> None:
    with pytest.raises(InvalidInput, match="question"):
        await api.acme.ScoreAnswer(rpc.ScoreAnswerRequest(id="tone", version=await api.pinned(), answer="good"))


async def test_more_turns_before_the_question_than_a_judge_reads_are_refused_by_their_number() -> None:
    request = rpc.ScoreAnswerRequest(id="tone", version="tone@1", question="Why?", earlier=[Message()] * 1001)

    with pytest.raises(InvalidInput, match="earlier: has 1001 turns; the limit is 1000"):
        material_in(request)


async def test_another_version_is_refused_by_the_names_of_both(api: Api) -> None:
    request = rpc.ScoreAnswerRequest(id="tone", version="tone@9-0123456789ab", question="Why?", answer="good")

    with pytest.raises(PreconditionFailed, match="pinned as tone@9-0123456789ab, and is tone@1-") as refused:
        await api.acme.ScoreAnswer(request)

    assert refused.value.reason == "JUDGE_CHANGED"


async def test_the_judge_of_one_project_does_not_exist_for_another(api: Api) -> None:
    with pytest.raises(PreconditionFailed, match="judge tone does not exist in this project") as refused:
        await api.globex.PinJudge(rpc.PinJudgeRequest(id="tone"))

    assert refused.value.reason == "JUDGE_UNAVAILABLE"
