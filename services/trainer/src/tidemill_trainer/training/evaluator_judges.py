"""The judges of evaluator, by its API."""

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import judge_service_pb2 as pb
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import PreconditionFailed
from tidemill_core.grpc.context import acting_as
from tidemill_trainer.training.domain.guidance import PinnedJudge
from tidemill_trainer.training.ports import JudgedAnswer

_ROLES = {
    "system": content_pb2.ROLE_SYSTEM,
    "user": content_pb2.ROLE_USER,
    "assistant": content_pb2.ROLE_ASSISTANT,
}
"""The turns that a judge reads; calls of tools are none of them."""


class EvaluatorJudges:
    """Implements `ports.Judges`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._judges = JudgeServiceStub(channel)
        self._timeout_s = timeout_s

    async def pin(self, caller: Caller, judge: str, *, model: str, trained: str) -> PinnedJudge:
        """See `Judges.pin`."""
        with acting_as(caller):
            request = pb.PinJudgeRequest(id=judge, model=model, trained_model=trained)
            found = await self._judges.PinJudge(request)
        return PinnedJudge(version=found.version, calls_per_answer=found.calls_per_answer)

    async def score(self, caller: Caller, judge: str, *, version: str, answer: JudgedAnswer) -> float | None:
        """See `Judges.score`. The question is the last turn of a user."""
        turns = [(role, text) for role, text in answer.asked if role in _ROLES]
        last = max((place for place, (role, _) in enumerate(turns) if role == "user"), default=len(turns) - 1)
        request = pb.ScoreAnswerRequest(
            id=judge,
            version=version,
            earlier=[_message(role, text) for role, text in turns[:last]],
            question=turns[last][1] if turns else "",
            answer=answer.answer,
            reference=answer.reference,
        )
        with acting_as(caller):
            found = await self._judges.ScoreAnswer(request, timeout=self._timeout_s)
        return found.score if found.HasField("score") else None


class UnknownJudges:
    """Implements `ports.Judges` where the operator gave trainer no address of evaluator."""

    async def pin(self, caller: Caller, judge: str, *, model: str, trained: str) -> PinnedJudge:
        """See `Judges.pin`."""
        del caller, model, trained
        message = f"judge {judge} cannot be asked: set TRAINER_EVALUATOR_ADDRESS, and start trainer again"
        raise PreconditionFailed(message)

    async def score(self, caller: Caller, judge: str, *, version: str, answer: JudgedAnswer) -> float | None:
        """See `Judges.score`."""
        del version, answer
        await self.pin(caller, judge, model="", trained="")
        return None


def _message(role: str, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=_ROLES[role], parts=[content_pb2.Part(text=text)])
