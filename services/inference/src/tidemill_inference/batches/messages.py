"""Batches as messages of the contract."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from tidemill.inference.v1 import batch_pb2
from tidemill_core.errors import InvalidInput
from tidemill_inference.batches.crud import BatchRequest
from tidemill_inference.batches.domain.batch import DEFAULT_WINDOW, Batch
from tidemill_kit.mapping import to_message

_LONGEST = timedelta(days=3650)


def batch_message(batch: Batch) -> batch_pb2.Batch:
    """Return the whole resource."""
    return to_message(batch_pb2.Batch, batch, batch.counts)


def batch_request_of(message: batch_pb2.Batch) -> BatchRequest:
    """Return what a request asks for."""
    window = _window_of(message.completion_window) if message.HasField("completion_window") else DEFAULT_WINDOW
    return BatchRequest(
        endpoint=message.endpoint,
        input_file=message.input_file,
        completion_window=window,
        labels=dict(message.labels),
    )


def _window_of(given: Duration) -> timedelta:
    """Return a window that a time can be added to; the batch says what is wrong with others.

    Raises:
        InvalidInput: it is far too long.

    """
    if abs(given.seconds) > _LONGEST.total_seconds():
        text = f"is {given.seconds} s, which is far too long: a batch may take some days"
        raise InvalidInput.at(field="completion_window", text=text)
    return given.ToTimedelta()
