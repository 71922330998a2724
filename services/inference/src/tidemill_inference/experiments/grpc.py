"""ExperimentService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.inference.v1 import experiment_service_pb2 as pb
from tidemill.inference.v1 import experiment_service_pb2_grpc
from tidemill_inference.experiments.crud import CHANGEABLE, ExperimentCrud
from tidemill_inference.experiments.messages import experiment_message, experiment_of
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of


@dataclass(frozen=True, kw_only=True)
class GrpcExperimentService(experiment_service_pb2_grpc.ExperimentServiceServicer):
    """Serves experiments; errors are mapped by the kit's interceptor."""

    experiments: ExperimentCrud

    async def CreateExperiment(
        self, request: pb.CreateExperimentRequest, _context: object
    ) -> pb.CreateExperimentResponse:
        """Create an experiment, and start it."""
        required(request, "experiment")
        caller = current_caller()
        given = experiment_of(request.experiment, project=caller.project)
        created = await self.experiments.create(caller, given, write_of(request))
        return pb.CreateExperimentResponse(experiment=experiment_message(created))

    async def GetExperiment(self, request: pb.GetExperimentRequest, _context: object) -> pb.GetExperimentResponse:
        """Return one experiment, with what is known by now."""
        found = await self.experiments.get(current_caller(), request.id)
        return pb.GetExperimentResponse(experiment=experiment_message(found))

    async def ListExperiments(self, request: pb.ListExperimentsRequest, _context: object) -> pb.ListExperimentsResponse:
        """Return a page of experiments."""
        page = await self.experiments.list(current_caller(), page_of(request, filters={}))
        found = [experiment_message(each) for each in page.items]
        return pb.ListExperimentsResponse(experiments=found, next_page_token=page.next_token)

    async def UpdateExperiment(
        self, request: pb.UpdateExperimentRequest, _context: object
    ) -> pb.UpdateExperimentResponse:
        """Change the fields that the mask names."""
        required(request, "experiment")
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.experiment.etag)
        given = experiment_of(request.experiment, project=caller.project)
        updated = await self.experiments.update(caller, given, paths, write)
        return pb.UpdateExperimentResponse(experiment=experiment_message(updated))

    async def DeleteExperiment(
        self, request: pb.DeleteExperimentRequest, _context: object
    ) -> pb.DeleteExperimentResponse:
        """Delete an experiment."""
        deleted = await self.experiments.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteExperimentResponse(experiment=experiment_message(deleted))

    async def StopExperiment(self, request: pb.StopExperimentRequest, _context: object) -> pb.StopExperimentResponse:
        """End the run of an experiment."""
        stopped = await self.experiments.stop(current_caller(), request.id, write_of(request))
        return pb.StopExperimentResponse(experiment=experiment_message(stopped))
