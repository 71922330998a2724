"""Examples in feedback's exchange bucket: JSON lines, of which only the ids are taken."""

import asyncio
import json
from collections.abc import Sequence

from tidemill_kit.store.objects import ExchangeBucket
from tidemill_monitor.errors import BatchUnusable
from tidemill_monitor.examples.domain import Batch, ExampleIds


class ExchangeExamples:
    """Implements `ports.Examples`. The text is in memory while it is read, and nowhere after."""

    def __init__(self, bucket: ExchangeBucket, *, max_bytes: int) -> None:
        self._bucket = bucket
        self._max_bytes = max_bytes

    async def read(self, batch: Batch) -> Sequence[ExampleIds]:
        """See `Examples.read`."""
        if batch.object.size > self._max_bytes:
            raise BatchUnusable(batch.curation, f"they have {batch.object.size} bytes; the limit is {self._max_bytes}")
        data = await self._bucket.get(batch.object)
        return await asyncio.to_thread(_ids, batch, data)


def _ids(batch: Batch, data: bytes) -> list[ExampleIds]:
    found: list[ExampleIds] = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            example = json.loads(line)
            feedback, inference = example["feedback"], example["inference"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BatchUnusable(batch.curation, f"line {number} is no example") from None  # without its text
        if not (isinstance(feedback, str) and feedback and isinstance(inference, str)):
            raise BatchUnusable(batch.curation, f"line {number} names no feedback")
        found.append(ExampleIds(feedback, inference))
    return found
