"""JudgeService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import judge_service_pb2 as pb
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceServicer
from tidemill_evaluator.judges.crud import CHANGEABLE, JudgeCrud
from tidemill_evaluator.judges.measure_judge import StartMeasurement
from tidemill_evaluator.judges.messages import judge_message, judge_of, material_of
from tidemill_evaluator.judges.score_answer import ScoreAnswer
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, remaining_s, required, write_of

_NO_DEADLINE_S = 3600.0
"""As good as none: a judgement has deadlines of its own."""


@dataclass(frozen=True, kw_only=True)
class GrpcJudgeService(JudgeServiceServicer):
    """Message -> use case -> message."""

    judges: JudgeCrud
    measure: StartMeasurement
    score: ScoreAnswer

    async def CreateJudge(self, request: pb.CreateJudgeRequest, _context: object) -> pb.CreateJudgeResponse:
        """See the contract."""
        required(request, "judge")
        caller = current_caller()
        created = await self.judges.create(caller, judge_of(request.judge, caller.project), write_of(request))
        return pb.CreateJudgeResponse(judge=judge_message(created))

    async def GetJudge(self, request: pb.GetJudgeRequest, _context: object) -> pb.GetJudgeResponse:
        """See the contract."""
        return pb.GetJudgeResponse(judge=judge_message(await self.judges.get(current_caller(), request.id)))

    async def ListJudges(self, request: pb.ListJudgesRequest, _context: object) -> pb.ListJudgesResponse:
        """See the contract."""
        page = await self.judges.list(current_caller(), page_of(request, filters={}))
        return pb.ListJudgesResponse(judges=[*map(judge_message, page.items)], next_page_token=page.next_token)

    async def UpdateJudge(self, request: pb.UpdateJudgeRequest, _context: object) -> pb.UpdateJudgeResponse:
        """See the contract."""
        required(request, "judge")
        caller = current_caller()
        fields, write = paths_of(request.update_mask, allowed=CHANGEABLE), write_of(request, etag=request.judge.etag)
        updated = await self.judges.update(caller, judge_of(request.judge, caller.project), fields, write)
        return pb.UpdateJudgeResponse(judge=judge_message(updated))

    async def MeasureJudge(self, request: pb.MeasureJudgeRequest, _context: object) -> pb.MeasureJudgeResponse:
        """See the contract."""
        measured = await self.measure(
            current_caller(), request.id, queue=request.queue, field=request.field, write=write_of(request)
        )
        return pb.MeasureJudgeResponse(judge=judge_message(measured))

    async def PinJudge(self, request: pb.PinJudgeRequest, _context: object) -> pb.PinJudgeResponse:
        """See the contract."""
        models = [each for each in (request.model, request.trained_model) if each]
        pinned = await self.score.pin(current_caller(), request.id, models=models)
        return pb.PinJudgeResponse(version=pinned.version, calls_per_answer=len(pinned.judging))

    async def ScoreAnswer(self, request: pb.ScoreAnswerRequest, _context: object) -> pb.ScoreAnswerResponse:
        """See the contract."""
        score = await self.score.score(
            current_caller(),
            request.id,
            version=request.version,
            material=material_of(request),
            within_s=remaining_s(_NO_DEADLINE_S),
        )
        return pb.ScoreAnswerResponse(score=score)

    async def DeleteJudge(self, request: pb.DeleteJudgeRequest, _context: object) -> pb.DeleteJudgeResponse:
        """See the contract."""
        deleted = await self.judges.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteJudgeResponse(judge=judge_message(deleted))
