"""What topics need: a place to compute them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tidemill_rag.topics.domain import Clusters, Sampled


class ComputeClusters(Protocol):
    """Computes clusters. CPU work of a tenant's texts: it never runs on the event loop, and has limits."""

    async def __call__(self, project: str, documents: Sequence[Sampled], *, count: int) -> Clusters:
        """Return the clusters of documents, `count` 0 being as many as are separated best.

        The same documents in the same order make the same clusters.

        Raises:
            TopicsTooCostly: it takes more than the limits allow.
            RateLimited: too many of the project wait already.

        """
        ...


class Places(Protocol):
    """Places by project, so that one project reads and keeps only so many samples at once."""

    def place(self, project: str) -> AbstractAsyncContextManager[None]:
        """Hold a place for a block.

        Raises:
            RateLimited: too many of the project wait already.

        """
        ...
