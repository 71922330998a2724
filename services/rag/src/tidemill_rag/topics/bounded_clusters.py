"""Clusters are computed in a process of its own, with limits."""

from collections.abc import Sequence

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError
from tidemill_rag.errors import TopicsTooCostly
from tidemill_rag.topics.clustering import clusters_of
from tidemill_rag.topics.domain import Clusters, Sampled

IMPORTS = ("tidemill_rag.topics.clustering", "scipy.cluster.vq")
_MACHINES_DOING = ("wall", "died")


class BoundedClusters:
    """Implements `ports.ComputeClusters`."""

    def __init__(self, processes: BoundedProcesses) -> None:
        self._processes = processes

    async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
        """See `ports.ComputeClusters`."""
        vectors = b"".join(each.vector for each in documents)
        texts = [each.text for each in documents]
        try:
            return await self._processes.run(project, clusters_of, vectors, texts, count)
        except WorkEndedError as ended:
            if ended.cause in _MACHINES_DOING:
                message = f"computing the topics {ended.why}: try again"
                raise DependencyUnavailable(message, dependency="processes") from ended
            if ended.cause == "failed":
                raise
            raise TopicsTooCostly(ended.why) from ended
