"""TopicService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.rag.v1 import topic_service_pb2 as pb
from tidemill.rag.v1.topic_service_pb2_grpc import TopicServiceServicer
from tidemill_core.rights import principals_of
from tidemill_kit.grpc.server import current_caller
from tidemill_rag.topics.describe_topics import DescribeTopics
from tidemill_rag.topics.messages import asked_of, topics_message


@dataclass(frozen=True, kw_only=True)
class GrpcTopicService(TopicServiceServicer):
    """Errors are translated by the server's interceptor."""

    describe: DescribeTopics

    async def GetTopics(self, request: pb.GetTopicsRequest, _context: object) -> pb.GetTopicsResponse:
        """Return the topics of a collection."""
        caller = current_caller()
        asked = asked_of(request, principals=principals_of(caller, request.principals, field="principals"))
        return topics_message(await self.describe(caller, asked))
