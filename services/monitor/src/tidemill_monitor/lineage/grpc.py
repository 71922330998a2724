"""LineageService: where everything came from."""

from dataclasses import dataclass

from tidemill.monitor.v1 import lineage_service_pb2 as pb
from tidemill.monitor.v1.lineage_service_pb2_grpc import LineageServiceServicer
from tidemill_kit.grpc.server import current_caller
from tidemill_kit.mapping import from_message
from tidemill_monitor.lineage.messages import edge_message, entry_message, node_messages
from tidemill_monitor.lineage.read_lineage import LineageQuery, ReadLineage
from tidemill_monitor.lineage.read_timeline import ReadTimeline


@dataclass(frozen=True, kw_only=True)
class GrpcLineageService(LineageServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    lineage: ReadLineage
    timeline: ReadTimeline

    async def GetLineage(self, request: pb.GetLineageRequest, _context: object) -> pb.GetLineageResponse:
        """Return what a thing came from, or what came of it."""
        found = await self.lineage(current_caller(), from_message(LineageQuery, request))
        return pb.GetLineageResponse(
            nodes=node_messages(found), edges=[edge_message(edge) for edge in found.edges], cut=found.cut
        )

    async def GetTimeline(self, request: pb.GetTimelineRequest, _context: object) -> pb.GetTimelineResponse:
        """Return the time line of a deployment's rollouts."""
        found = await self.timeline(current_caller(), request.deployment, request.rollout)
        return pb.GetTimelineResponse(entries=[entry_message(entry) for entry in found.entries], cut=found.cut)
