"""Batches as messages of the contract."""

from tidemill.inference.v1 import batch_pb2
from tidemill_inference.batches.crud import BatchRequest
from tidemill_inference.batches.domain.batch import DEFAULT_WINDOW, Batch
from tidemill_kit.mapping import to_message


def batch_message(batch: Batch) -> batch_pb2.Batch:
    """Return the whole resource."""
    return to_message(batch_pb2.Batch, batch, batch.counts)


def batch_request_of(message: batch_pb2.Batch) -> BatchRequest:
    """Return what a request asks for."""
    window = message.completion_window.ToTimedelta() if message.HasField("completion_window") else DEFAULT_WINDOW
    return BatchRequest(
        endpoint=message.endpoint,
        input_file=message.input_file,
        completion_window=window,
        labels=dict(message.labels),
    )
