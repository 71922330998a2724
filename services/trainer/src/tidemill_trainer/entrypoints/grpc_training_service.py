"""gRPC TrainingService: plans and runs."""

from dataclasses import dataclass

from tidemill.trainer.v1 import training_service_pb2 as pb
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of
from tidemill_trainer.application.browse_training import BrowseTraining
from tidemill_trainer.application.cancel_training_run import CancelTrainingRun
from tidemill_trainer.application.create_training_plan import CreateTrainingPlan
from tidemill_trainer.application.delete_training_plan import DeleteTrainingPlan
from tidemill_trainer.application.retry_training_run import RetryTrainingRun
from tidemill_trainer.application.start_training_run import StartTrainingRun
from tidemill_trainer.application.update_training_plan import CHANGEABLE, UpdateCommand, UpdateTrainingPlan
from tidemill_trainer.entrypoints.messages import version_of
from tidemill_trainer.entrypoints.training_messages import plan_message, run_message, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingUseCases:
    """Use cases of the service."""

    create: CreateTrainingPlan
    update: UpdateTrainingPlan
    delete: DeleteTrainingPlan
    browse: BrowseTraining
    start: StartTrainingRun
    cancel: CancelTrainingRun
    retry: RetryTrainingRun


class GrpcTrainingService(TrainingServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    def __init__(self, use_cases: TrainingUseCases) -> None:
        self._do = use_cases

    async def CreateTrainingPlan(
        self, request: pb.CreateTrainingPlanRequest, _context: object
    ) -> pb.CreateTrainingPlanResponse:
        """Use case: create a plan."""
        plan = await self._do.create(
            current_caller(),
            request.plan.id,
            settings_of(request.plan),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreateTrainingPlanResponse(plan=plan_message(plan))

    async def GetTrainingPlan(self, request: pb.GetTrainingPlanRequest, _context: object) -> pb.GetTrainingPlanResponse:
        """Return one plan."""
        plan = await self._do.browse.plan(current_caller(), request.id)
        return pb.GetTrainingPlanResponse(plan=plan_message(plan))

    async def ListTrainingPlans(
        self, request: pb.ListTrainingPlansRequest, _context: object
    ) -> pb.ListTrainingPlansResponse:
        """Return a page of plans."""
        page = await self._do.browse.list_plans(current_caller(), page_of(request))
        return pb.ListTrainingPlansResponse(
            plans=[plan_message(plan) for plan in page.items], next_page_token=page.next_token
        )

    async def UpdateTrainingPlan(
        self, request: pb.UpdateTrainingPlanRequest, _context: object
    ) -> pb.UpdateTrainingPlanResponse:
        """Change the fields that the mask names."""
        command = UpdateCommand(
            plan=request.plan.id,
            settings=settings_of(request.plan),
            fields=paths_of(request.update_mask, allowed=CHANGEABLE),
            request=request_of(request),
            expected_version=version_of(request.plan.etag),
            validate_only=request.validate_only,
        )
        return pb.UpdateTrainingPlanResponse(plan=plan_message(await self._do.update(current_caller(), command)))

    async def DeleteTrainingPlan(
        self, request: pb.DeleteTrainingPlanRequest, _context: object
    ) -> pb.DeleteTrainingPlanResponse:
        """Use case: delete a plan."""
        plan = await self._do.delete(
            current_caller(),
            request.id,
            expected_version=version_of(request.etag),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.DeleteTrainingPlanResponse(plan=plan_message(plan))

    async def StartTrainingRun(
        self, request: pb.StartTrainingRunRequest, _context: object
    ) -> pb.StartTrainingRunResponse:
        """Start a run on request."""
        run = await self._do.start(
            current_caller(),
            request.plan,
            dataset_version=request.dataset_version,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.StartTrainingRunResponse(run=run_message(run))

    async def GetTrainingRun(self, request: pb.GetTrainingRunRequest, _context: object) -> pb.GetTrainingRunResponse:
        """Return one run."""
        return pb.GetTrainingRunResponse(run=run_message(await self._do.browse.run(current_caller(), request.id)))

    async def ListTrainingRuns(
        self, request: pb.ListTrainingRunsRequest, _context: object
    ) -> pb.ListTrainingRunsResponse:
        """Return a page of runs."""
        page = await self._do.browse.list_runs(current_caller(), page_of(request), plan=request.plan)
        return pb.ListTrainingRunsResponse(
            runs=[run_message(run) for run in page.items], next_page_token=page.next_token
        )

    async def CancelTrainingRun(
        self, request: pb.CancelTrainingRunRequest, _context: object
    ) -> pb.CancelTrainingRunResponse:
        """Use case: cancel a run."""
        run = await self._do.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelTrainingRunResponse(run=run_message(run))

    async def RetryTrainingRun(
        self, request: pb.RetryTrainingRunRequest, _context: object
    ) -> pb.RetryTrainingRunResponse:
        """Queue a run again."""
        run = await self._do.retry(current_caller(), request.id, request=request_of(request))
        return pb.RetryTrainingRunResponse(run=run_message(run))
