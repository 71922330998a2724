"""Every event that trainer has ever published stays readable: one golden example each."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from services.trainer.tests.fakes import manifest_of, model_files
from tidemill_kit.domain import Aggregate
from tidemill_trainer.adapters.model_codec import ModelCodec
from tidemill_trainer.adapters.model_version_codec import ModelVersionCodec
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion
from tidemill_trainer.domain.sources import FolderSource

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def json_of(payload: Message) -> str:
    return MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def published(codec: ModelCodec | ModelVersionCodec, aggregate: Aggregate, *, seq: int) -> tuple[str, Message]:
    (event,) = aggregate.pending
    return codec.event(aggregate, event, seq)  # type: ignore[arg-type] # each test gives a codec and its own aggregate


def version(number: int) -> ModelVersion:
    return ModelVersion.begin(
        project="acme",
        model="smollm2",
        number=number,
        source=FolderSource(manifest=manifest_of(model_files())),
        labels={},
        by="r1",
        now=NOON,
    )


def registered() -> tuple[str, Message]:
    ready = version(3)
    ready.digest = "4bd2ba7cd85a0bcd30f5cbf3b2e7a1e8e53d3f0c98ad1ff1fb5a1e33d2b2a1c0"
    ready.expected_bytes = 271171560
    ready._register(NOON)  # noqa: SLF001 - completing would need files of this size
    return published(ModelVersionCodec(), ready, seq=1)


def failed() -> tuple[str, Message]:
    refused = version(4)
    refused.fail(reason="ARTIFACT_REFUSED", message="config.json: names code to run: auto_map", now=NOON)
    return published(ModelVersionCodec(), refused, seq=1)


def deleted() -> tuple[str, Message]:
    model = Model(id="smollm2", project="acme", version=1)
    model.delete(now=NOON, expected_version=None)
    return published(ModelCodec(), model, seq=2)


@pytest.mark.parametrize("publish", [registered, failed, deleted])
def test_an_event_is_published_as_its_golden_example(publish: Callable[[], tuple[str, Message]]) -> None:
    ce_type, payload = publish()

    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    assert json_of(payload) + "\n" == example
    assert Parse(example, type(payload)()) == payload
