"""Batches: the questions of a file, answered behind live traffic."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta

from tidemill.inference.v1 import batch_pb2
from tidemill.inference.v1 import batch_service_pb2 as pb
from tidemill.inference.v1.batch_pb2 import Batch
from tidemill_client.connection import Connection
from tidemill_client.pages import each
from tidemill_client.waiting import poll

ENDED = frozenset(
    {
        batch_pb2.BATCH_STATE_COMPLETED,
        batch_pb2.BATCH_STATE_FAILED,
        batch_pb2.BATCH_STATE_EXPIRED,
        batch_pb2.BATCH_STATE_CANCELLED,
    }
)
PATIENCE_S = 25 * 3600.0
"""The window that a batch has by default, and an hour to write its results."""


class Batches:
    """The batches of a project; one is cancelled by its creator and by who acts for users."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        input_file: str,
        *,
        endpoint: str,
        completion_window: timedelta | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> Batch:
        """Begin a batch: have each line of a file asked, within 24 h or the given window."""
        batch = Batch(input_file=input_file, endpoint=endpoint, labels=labels or {})
        if completion_window is not None:
            batch.completion_window.FromTimedelta(completion_window)
        request = pb.CreateBatchRequest(batch=batch, request_id=request_id)
        return (await self._connection.batches.CreateBatch(request)).batch

    async def get(self, batch: str) -> Batch:
        """Return a batch with its counts."""
        return (await self._connection.batches.GetBatch(pb.GetBatchRequest(id=batch))).batch

    def all(self) -> AsyncIterator[Batch]:
        """Yield the batches, oldest first."""
        return each(self._connection.batches.ListBatches, pb.ListBatchesRequest(), lambda page: page.batches)

    async def cancel(self, batch: str) -> Batch:
        """End a batch early; the results of what is done are written."""
        return (await self._connection.batches.CancelBatch(pb.CancelBatchRequest(id=batch))).batch

    async def wait(
        self, batch: str, *, within_s: float = PATIENCE_S, watch: Callable[[Batch], None] = lambda _batch: None
    ) -> Batch:
        """Wait until a batch is at its end, and return it; its results are in `output_file` and `error_file`.

        Raises:
            DeadlineExceeded: `within_s` has passed; the batch continues.

        """
        return await poll(
            lambda: self.get(batch),
            lambda found: found.state in ENDED,
            what=f"batch {batch}",
            within_s=within_s,
            watch=watch,
        )
