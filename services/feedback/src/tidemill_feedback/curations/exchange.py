"""Batches of examples as others read them: JSON lines in feedback's exchange bucket."""

import asyncio
from collections.abc import Sequence

from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2 as pb
from tidemill_core.aggregate import ObjectRef
from tidemill_feedback.curations.domain.example import Example
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_kit.grpc.requests import timestamp_of
from tidemill_kit.store.objects import ExchangeBucket

MEDIA_TYPE = "application/jsonl"
_ROLES = {
    "system": content_pb2.ROLE_SYSTEM,
    "user": content_pb2.ROLE_USER,
    "assistant": content_pb2.ROLE_ASSISTANT,
    "tool": content_pb2.ROLE_TOOL,
}


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
        line = MessageToJson(_message(example), preserving_proto_field_name=True, ensure_ascii=False, indent=None)
        lines[example.id] = f"{line}\n".encode()
        capacity -= len(lines[example.id])
        if capacity < 0:
            del lines[example.id]
            break
    return [line for _, line in sorted(lines.items())]


def _message(example: Example) -> pb.Example:
    prompt = example.prompt
    return pb.Example(
        id=example.id,
        inference=example.inference,
        feedback=example.feedback,
        end_user=example.end_user,
        question=prompt.question,
        messages=[_turn(turn.role, turn.text) for turn in prompt.messages],
        earlier=[_turn(turn.role, turn.text) for turn in prompt.earlier],
        variables=ParseDict(dict(prompt.variables), Struct()) if prompt.variables else None,
        principals=prompt.principals,
        output=_turn("assistant", example.output),
        passages=[
            content_pb2.Passage(
                id=passage.id,
                document=passage.document,
                version=passage.version,
                start=passage.start,
                end=passage.end,
                source=passage.source,
                key=passage.key,
            )
            for passage in prompt.passages
        ],
        observe_time=timestamp_of(example.observe_time),
    )


def _turn(role: str, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=_ROLES[role], parts=[content_pb2.Part(text=text)])
