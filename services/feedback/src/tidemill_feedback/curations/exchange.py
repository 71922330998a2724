"""Batches of examples as others read them: JSON lines in feedback's exchange bucket."""

import asyncio
from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson

from tidemill_core.aggregate import ObjectRef
from tidemill_feedback.curations.domain.example import Example
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.messages import example_message
from tidemill_kit.store.objects import ExchangeBucket

MEDIA_TYPE = "application/jsonl"


class ExchangeBatches:
    """Implements `ports.Batches`."""

    def __init__(self, bucket: ExchangeBucket, *, max_bytes: int) -> None:
        self._bucket = bucket
        self._max_bytes = max_bytes

    async def put(self, ref: CurationRef, examples: Sequence[Example]) -> tuple[ObjectRef, int]:
        """See `Batches.put`."""
        lines = await asyncio.to_thread(lines_of, examples, max_bytes=self._max_bytes)
        stored = await self._bucket.put(ref.project, ref.curation, b"".join(lines), media_type=MEDIA_TYPE)
        return stored, len(lines)


def lines_of(examples: Sequence[Example], *, max_bytes: int) -> Sequence[bytes]:
    """Return the latest examples that fit as proto-JSON, ordered by id: the same examples are the same bytes."""
    lines, capacity = dict[str, bytes](), max_bytes
    for example in sorted(examples, key=lambda each: (each.observe_time, each.id), reverse=True):
        message = example_message(example)
        line = MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False, indent=None)
        lines[example.id] = f"{line}\n".encode()
        capacity -= len(lines[example.id])
        if capacity < 0:
            del lines[example.id]
            break
    return [line for _, line in sorted(lines.items())]
