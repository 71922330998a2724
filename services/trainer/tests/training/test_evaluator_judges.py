"""Judges by evaluator's API: what is sent, what is read, and who asks."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import judge_service_pb2 as rpc
from tidemill.evaluator.v1.judge_service_pb2_grpc import add_JudgeServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyTimedOut, PreconditionFailed
from tidemill_core.grpc.client import open_channel
from tidemill_testkit.stubs.evaluator import StubJudges
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.evaluator_judges import EvaluatorJudges, UnknownJudges
from tidemill_trainer.training.ports import JudgedAnswer

TRAINER = Caller.of_service("acme", "trainer")
VERSION = "tone@1-0123456789ab"
TURNS = [("system", "Be brief."), ("user", "Hello."), ("assistant", "Hi."), ("tool", "{}"), ("user", "Why?")]
ANSWER = JudgedAnswer(asked=TURNS, answer="So.", reference="Because.")


class Served:
    """A stub of evaluator, and its client."""

    def __init__(self, stub: StubJudges, address: str) -> None:
        self.stub = stub
        self.channel = open_channel(address, name="evaluator", on_behalf=True)
        self.judges = EvaluatorJudges(self.channel, timeout_s=0.5)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    stub, server = StubJudges(), grpc.aio.server()  # type: ignore[abstract] # it has what trainer calls
    add_JudgeServiceServicer_to_server(stub, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    found = Served(stub, address)
    yield found
    await found.channel.close()
    await server.stop(None)


async def _half(_request: rpc.ScoreAnswerRequest) -> float | None:
    return 0.5


async def _nothing(_request: rpc.ScoreAnswerRequest) -> float | None:
    return None


async def test_a_judge_reads_the_last_question_and_the_turns_before_it(served: Served) -> None:
    served.stub.add("tone", version=VERSION, says=_half, project="acme", calls_per_answer=3)

    pinned = await served.judges.pin(TRAINER, "tone", model="smollm2@1", trained="lora")
    score = await served.judges.score(TRAINER, "tone", version=VERSION, answer=ANSWER)

    assert (pinned, score) == (PinnedJudge(version=VERSION, calls_per_answer=3), 0.5)
    (sent,) = served.stub.scored
    assert (sent.question, sent.answer, sent.reference) == ("Why?", "So.", "Because.")
    assert [(each.role, each.parts[0].text) for each in sent.earlier] == [
        (content_pb2.ROLE_SYSTEM, "Be brief."),
        (content_pb2.ROLE_USER, "Hello."),
        (content_pb2.ROLE_ASSISTANT, "Hi."),
    ]


async def test_an_answer_that_is_not_judged_has_no_score(served: Served) -> None:
    served.stub.add("tone", version=VERSION, says=_nothing, project="acme")

    assert await served.judges.score(TRAINER, "tone", version=VERSION, answer=ANSWER) is None


async def test_a_judge_that_says_nothing_for_too_long_is_evaluator_being_slow(served: Served) -> None:
    async def silence(_request: rpc.ScoreAnswerRequest) -> float | None:
        await asyncio.sleep(60)
        return None

    served.stub.add("tone", version=VERSION, says=silence, project="acme")

    with pytest.raises(DependencyTimedOut) as late:
        await served.judges.score(TRAINER, "tone", version=VERSION, answer=ANSWER)

    assert late.value.dependency == "evaluator"


async def test_a_judge_of_another_project_is_refused_by_evaluators_reason(served: Served) -> None:
    served.stub.add("tone", version=VERSION, says=_half, project="globex")

    with pytest.raises(PreconditionFailed) as refused:
        await served.judges.pin(TRAINER, "tone", model="smollm2@1", trained="lora")

    assert refused.value.reason == "JUDGE_UNAVAILABLE"


async def test_without_an_address_of_evaluator_no_judge_is_asked() -> None:
    with pytest.raises(PreconditionFailed, match="set TRAINER_EVALUATOR_ADDRESS"):
        await UnknownJudges().pin(TRAINER, "tone", model="smollm2@1", trained="lora")
