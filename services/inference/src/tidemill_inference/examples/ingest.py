"""Dataset versions, as ingest keeps them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC

import grpc
from google.protobuf.json_format import Parse, ParseError

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill.ingest.v1 import dataset_service_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal, InvalidInput
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.examples.domain.example_set import Example
from tidemill_inference.examples.ports import TrainPart
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.store.objects import ExchangeBucket


class IngestVersions:
    """Implements `ports.DatasetVersions`; None knows no ingest. Parts are parsed in a thread."""

    def __init__(
        self, channel: grpc.aio.Channel | None, bucket: ExchangeBucket, *, timeout_s: float, max_characters: int
    ) -> None:
        self._datasets = DatasetServiceStub(channel) if channel else None
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._max_characters = max_characters

    async def train_part(self, caller: Caller, version: str) -> TrainPart:
        """See `DatasetVersions.train_part`."""
        if self._datasets is None:
            raise ServiceNotNamed(service="ingest", setting="INFERENCE_INGEST_ADDRESS")
        request = dataset_service_pb2.GetDatasetVersionRequest(id=version)
        try:
            with acting_as(caller):
                found = (await self._datasets.GetDatasetVersion(request, timeout=self._timeout_s)).version
        except (DeadlineExceeded, Internal) as error:
            message = f"ingest does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="ingest") from error
        return TrainPart(
            version=found.id,
            content=from_message(ObjectRef, found.train, ignore=REST),
            examples=found.train.examples,
            missing_approvals=found.missing_approvals,
        )

    async def read(self, part: TrainPart) -> Sequence[Example]:
        """See `DatasetVersions.read`."""
        return await asyncio.to_thread(
            _examples, await self._bucket.get(part.content), part.version, self._max_characters
        )


def _examples(data: bytes, version: str, max_characters: int) -> list[Example]:
    found = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        message = curation_pb2.Example()
        try:
            Parse(line, message, ignore_unknown_fields=True)
        except ParseError as error:
            text = f"{version}: line {number} of its train part is no example"
            raise InvalidInput.at(field="dataset", text=text) from error
        if (example := _example(message)) and len(example.question) + len(example.answer) <= max_characters:
            found.append(example)
    return found


def _example(message: curation_pb2.Example) -> Example | None:
    """Return what can stand before any question; None for a bad answer, or one that needs what was said before it."""
    bad = message.HasField("label") and not message.label
    question, answer = message.question.strip(), _text(message.output)
    if bad or message.earlier or not question or not answer:
        return None
    return Example(
        id=message.id,
        question=question,
        answer=answer,
        author=message.end_user,
        asked_by=message.asked_by,
        documents=tuple(dict.fromkeys(each.document for each in message.passages)),
        principals=tuple(message.principals),
        observed_at=message.observe_time.ToDatetime(tzinfo=UTC),
    )


def _text(message: content_pb2.Message) -> str:
    return "\n".join(
        part.text or part.json for part in message.parts if part.WhichOneof("content") in {"text", "json"}
    ).strip()
