"""Topics, put together."""

from tidemill.rag.v1.topic_service_pb2_grpc import add_TopicServiceServicer_to_server
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits, Shares
from tidemill_rag.collections.ports import Collections
from tidemill_rag.indexing.ports import Ledger
from tidemill_rag.settings import RagSettings
from tidemill_rag.topics.bounded_clusters import IMPORTS, BoundedClusters
from tidemill_rag.topics.describe_topics import DescribeTopics
from tidemill_rag.topics.grpc import GrpcTopicService
from tidemill_rag.topics.sampling import SampleDocuments
from tidemill_rag.vectors.ports import VectorStore

_WAITING = 4
"""Calls of one project that wait, before they read anything, while another one of it reads or is computed."""


def wire_topics(
    settings: RagSettings, backend: Backend, *, collections: Collections, ledger: Ledger, vectors: VectorStore
) -> Registration:
    """Return the service; one call is computed at a time, each project in turn, and a project has one in work."""
    limits = ProcessLimits(
        workers=1,
        cpu_s=settings.topic_cpu_s,
        wall_s=2 * settings.topic_cpu_s,
        memory_bytes=settings.topic_memory_mb * 1024**2,
        share=1,
    )
    processes = BoundedProcesses(limits, "topics", IMPORTS)
    backend.on_stop(processes.stop)
    describe = DescribeTopics(
        collections=collections,
        ledger=ledger,
        sample=SampleDocuments(ledger=ledger, vectors=vectors, max_documents=settings.topic_max_documents),
        compute=BoundedClusters(processes),
        places=Shares(1, waiting=_WAITING, what="topics"),
    )
    return add_TopicServiceServicer_to_server, GrpcTopicService(describe=describe)
