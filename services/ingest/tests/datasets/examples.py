"""Batches of examples as feedback writes them."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToJson

from tidemill.content.v1.content_pb2 import ROLE_ASSISTANT, ROLE_USER, Message, Part, Passage
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import derived_id
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.domain.version import Batch, ExampleBatchOffer
from tidemill_ingest.datasets.objects import examples_of
from tidemill_testkit.clocks import NOON
from tidemill_testkit.objects import InMemoryObjects

FEEDBACK = "tidemill-feedback-exchange"


def message(  # noqa: PLR0913 - what makes an example
    question: str,
    answer: str,
    *,
    name: str = "",
    user: str = "ada",
    asker: str = "",
    cites: Sequence[tuple[str, int]] = (),
    at: int = 0,
) -> ExampleMessage:
    """Return the example of a correction; its id derives from `name`, or from question and answer."""
    example = ExampleMessage(
        id=derived_id("example", name or f"{question}\n{answer}"),
        inference=derived_id("inference", question),
        end_user=user,
        asked_by=asker,
        question=question,
        messages=[Message(role=ROLE_USER, parts=[Part(text=question)])],
        output=Message(role=ROLE_ASSISTANT, parts=[Part(text=answer)]),
        passages=[
            Passage(id=str(number), document=document, version=version, start=0, end=9, score=0.5)
            for number, (document, version) in enumerate(cites, start=1)
        ],
    )
    example.observe_time.FromDatetime(NOON + timedelta(seconds=at))
    return example


def numbered(count: int, *, start: int = 0) -> list[ExampleMessage]:
    """Return corrections of so many different questions, each with an answer of its own."""
    return [
        message(f"What does module.name{number} do?", f"It does thing {number}.", user=f"user-{number % 7}", at=number)
        for number in range(start, start + count)
    ]


def lines(messages: Sequence[ExampleMessage]) -> bytes:
    written = [MessageToJson(each, preserving_proto_field_name=True, indent=None) for each in messages]
    return "".join(f"{each}\n" for each in written).encode()


def examples(messages: Sequence[ExampleMessage]) -> list[Example]:
    return examples_of(lines(messages))


def batch_of(data: bytes, *, count: int, project: str = "acme", bucket: str = FEEDBACK) -> Batch:
    sha256 = hashlib.sha256(data).hexdigest()
    ref = ObjectRef(bucket=bucket, key=f"{project}/helpdesk_sft/{sha256}", size=len(data), sha256=sha256)
    return Batch(object=ref, examples=count)


async def stored(objects: InMemoryObjects, messages: Sequence[ExampleMessage], *, project: str = "acme") -> Batch:
    """Put the examples where feedback puts them."""
    data = lines(messages)
    batch = batch_of(data, count=len(messages), project=project)
    await objects.put(FEEDBACK, batch.object.key, data, media_type="application/jsonl")
    return batch


def offer_of(batch: Batch, *, seq: int = 1, curation: str = "helpdesk_sft") -> ExampleBatchOffer:
    return ExampleBatchOffer(
        id=derived_id("offer", curation, str(seq)),
        curation=curation,
        curation_seq=seq,
        deployment="helpdesk",
        batch=batch,
        offered_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    )


def completed(batch: Batch, *, seq: int = 1, dataset: str = "helpdesk_sft") -> dict[str, Any]:
    """Return the body of curation.completed, as proto-JSON writes it."""
    ref = batch.object
    return {
        "curation": "helpdesk_sft",
        "seq": str(seq),
        "dataset": dataset,
        "deployment": "helpdesk",
        "batch": {
            "bucket": ref.bucket,
            "key": ref.key,
            "size": str(ref.size),
            "sha256": ref.sha256,
            "examples": batch.examples,
        },
        "new_examples": batch.examples,
    }


def ids_in(part: bytes) -> list[str]:
    return [json.loads(line)["id"] for line in part.splitlines()]
