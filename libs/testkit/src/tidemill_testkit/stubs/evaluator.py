"""Evaluator's judges in memory, for tests of what has answers scored.

`services/evaluator/tests/judges/test_stub.py` holds them to the real ones.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidemill.evaluator.v1 import judge_service_pb2 as pb
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceServicer
from tidemill_core.errors import InvalidInput, PreconditionFailed, TidemillError
from tidemill_testkit.stubs.calls import Context, errors_of, project_of, with_reason

Says = Callable[[pb.ScoreAnswerRequest], Awaitable[float | None]]
"""A judge's score of an answer, None where it has not judged."""


@dataclass(slots=True)
class _Judge:
    version: str
    says: Says
    calls_per_answer: int = 1


class StubJudges(JudgeServiceServicer):
    """Pins judges that agree with people, and has them score answers. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self.scored: list[pb.ScoreAnswerRequest] = []
        """What was asked, also where it was not answered."""
        self._judges: dict[tuple[str, str], _Judge] = {}

    def add(self, judge: str, *, version: str, says: Says, project: str = "", calls_per_answer: int = 1) -> None:
        """Add a judge in a version, or change it; those of the project "" are seen by all."""
        self._judges[project, judge] = _Judge(version, says, calls_per_answer)

    def remove(self, judge: str, *, project: str = "") -> None:
        """Delete a judge."""
        del self._judges[project, judge]

    async def PinJudge(self, request: pb.PinJudgeRequest, context: Context) -> pb.PinJudgeResponse:
        """Return the version of a judge."""
        async with errors_of(context):
            found = self._of(project_of(context), request.id)
        return pb.PinJudgeResponse(version=found.version, calls_per_answer=found.calls_per_answer)

    async def ScoreAnswer(self, request: pb.ScoreAnswerRequest, context: Context) -> pb.ScoreAnswerResponse:
        """Return what the judge says of an answer."""
        async with errors_of(context):
            if not request.question.strip():
                raise InvalidInput.at(field="question", text="is empty: send what was asked")
            found = self._of(project_of(context), request.id)
            if request.version != found.version:
                message = f"judge {request.id} was pinned as {request.version}, and is {found.version}"
                raise with_reason(PreconditionFailed(message), reason="JUDGE_CHANGED")
            self.scored.append(request)
            score = await found.says(request)
        return pb.ScoreAnswerResponse(score=score)

    def _of(self, project: str, judge: str) -> _Judge:
        found = self._judges.get((project, judge)) or self._judges.get(("", judge))
        if found is None:
            message = f"judge {judge} does not exist in this project: create it"
            error: TidemillError = PreconditionFailed(message)
            raise with_reason(error, reason="JUDGE_UNAVAILABLE")
        return found
