"""EvaluationService."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import evaluation_service_pb2 as pb
from tidemill.evaluator.v1.evaluation_service_pb2_grpc import EvaluationServiceServicer
from tidemill_evaluator.evaluations.crud import CancelEvaluation
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults, ListCommand
from tidemill_evaluator.evaluations.messages import (
    evaluation_message,
    gate_message,
    gate_of,
    required,
    result_message,
)
from tidemill_evaluator.evaluations.ports import Evaluations, Gates
from tidemill_evaluator.evaluations.start_evaluation import StartCommand, StartEvaluation
from tidemill_evaluator.gates.crud import (
    CHANGEABLE,
    ChangeGates,
    CreateGateCommand,
    DeleteGateCommand,
    UpdateGateCommand,
)
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Use cases of the service."""

    gates: Gates
    evaluations: Evaluations
    change_gates: ChangeGates
    start: StartEvaluation
    cancel: CancelEvaluation
    list_case_results: ListCaseResults


class GrpcEvaluationService(EvaluationServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, use_cases: UseCases) -> None:
        self._do = use_cases

    async def CreateGate(self, request: pb.CreateGateRequest, _context: object) -> pb.CreateGateResponse:
        """See the contract."""
        required(request, "gate")
        command = CreateGateCommand(
            gate=gate_of(request.gate, current_caller().project),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateGateResponse(gate=gate_message(await self._do.change_gates.create(command)))

    async def GetGate(self, request: pb.GetGateRequest, _context: object) -> pb.GetGateResponse:
        """See the contract."""
        return pb.GetGateResponse(gate=gate_message(await self._do.gates.get(current_caller().project, request.id)))

    async def ListGates(self, request: pb.ListGatesRequest, _context: object) -> pb.ListGatesResponse:
        """See the contract."""
        page = await self._do.gates.list(current_caller().project, page=page_of(request))
        return pb.ListGatesResponse(gates=[gate_message(gate) for gate in page.items], next_page_token=page.next_token)

    async def UpdateGate(self, request: pb.UpdateGateRequest, _context: object) -> pb.UpdateGateResponse:
        """See the contract."""
        required(request, "gate")
        command = UpdateGateCommand(
            gate=gate_of(request.gate, current_caller().project),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            etag=request.gate.etag,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.UpdateGateResponse(gate=gate_message(await self._do.change_gates.update(command)))

    async def DeleteGate(self, request: pb.DeleteGateRequest, _context: object) -> pb.DeleteGateResponse:
        """See the contract."""
        command = DeleteGateCommand(
            gate=request.id, etag=request.etag, request=request_of(request), validate_only=request.validate_only
        )
        return pb.DeleteGateResponse(gate=gate_message(await self._do.change_gates.delete(current_caller(), command)))

    async def StartEvaluation(self, request: pb.StartEvaluationRequest, _context: object) -> pb.StartEvaluationResponse:
        """See the contract."""
        command = StartCommand(
            gate=request.gate,
            deployment=request.deployment,
            suites=tuple(request.suites),
            candidate=request.candidate,
            baseline=request.baseline,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.StartEvaluationResponse(
            evaluation=evaluation_message(await self._do.start(current_caller(), command))
        )

    async def GetEvaluation(self, request: pb.GetEvaluationRequest, _context: object) -> pb.GetEvaluationResponse:
        """See the contract."""
        found = await self._do.evaluations.get(current_caller().project, request.id)
        return pb.GetEvaluationResponse(evaluation=evaluation_message(found))

    async def ListEvaluations(self, request: pb.ListEvaluationsRequest, _context: object) -> pb.ListEvaluationsResponse:
        """See the contract."""
        where = {name: value for name in ("gate", "candidate") if (value := getattr(request, name))}
        page = await self._do.evaluations.list(current_caller().project, page=page_of(request), where=where)
        return pb.ListEvaluationsResponse(
            evaluations=[evaluation_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def CancelEvaluation(
        self, request: pb.CancelEvaluationRequest, _context: object
    ) -> pb.CancelEvaluationResponse:
        """See the contract."""
        cancelled = await self._do.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelEvaluationResponse(evaluation=evaluation_message(cancelled))

    async def ListCaseResults(self, request: pb.ListCaseResultsRequest, _context: object) -> pb.ListCaseResultsResponse:
        """See the contract."""
        command = ListCommand(
            evaluation=request.evaluation, page=page_of(request), case_set=request.case_set, metric=request.metric
        )
        page = await self._do.list_case_results(current_caller(), command)
        return pb.ListCaseResultsResponse(
            results=[result_message(shown) for shown in page.items], next_page_token=page.next_token
        )
