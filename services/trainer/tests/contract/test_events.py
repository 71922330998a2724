"""Golden examples: events that trainer has published stay readable."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from services.trainer.tests.registry.fakes import manifest_of, model_files
from tidemill.trainer.v1.events_pb2 import ModelVersionRegistered
from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_kit.mapping import DocumentCodec
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.sources import FolderSource, TrainedSource
from tidemill_trainer.registry.mongo import MODELS, VERSIONS
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.plan import DatasetVersion, PlanSettings, TrainingPlan
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.mongo import RUNS

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
RUN = "0b6e8f5e-2f0a-5d53-9d8f-0e3c8a1f2b6d"
A = TypeVar("A", bound=Aggregate)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def json_of(payload: Message) -> str:
    return MessageToJson(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def published(codec: DocumentCodec[A], aggregate: A, *, seq: int) -> tuple[str, Message]:
    (event,) = aggregate.pending
    return codec.event(aggregate, event, seq)


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
    return published(VERSIONS, ready, seq=1)


def failed() -> tuple[str, Message]:
    refused = version(4)
    refused.fail(reason="ARTIFACT_REFUSED", message="config.json: names code to run: auto_map", now=NOON)
    return published(VERSIONS, refused, seq=1)


def deleted() -> tuple[str, Message]:
    model = Model(id="smollm2", project="acme", version=1)
    model.end(NOON)
    return published(MODELS, model, seq=2)


def run() -> TrainingRun:
    settings = PlanSettings(dataset="helpdesk_sft", base="smollm2", method="sft")
    plan = TrainingPlan(id="helpdesk_lora", project="acme", settings=settings)
    train = ObjectRef(bucket="tidemill-ingest-exchange", key="acme/helpdesk_sft/4bd2", size=81920, sha256="4bd2")
    dataset = DatasetVersion(id="helpdesk_sft@1", train=train, examples=126)
    return TrainingRun.queue(run=RUN, plan=plan, dataset=dataset, base="smollm2@3", now=NOON)


def claimed() -> TrainingRun:
    working = run()
    working.pending.clear()
    working.claim(1, now=NOON)
    working.advance(
        Progress(step=48, steps=48, losses=(LossPoint(1, 2.5), LossPoint(48, 0.75)), seconds=209.5), epoch=1
    )
    return working


def run_queued() -> tuple[str, Message]:
    return published(RUNS, run(), seq=1)


def run_succeeded() -> tuple[str, Message]:
    done = claimed()
    done.succeed("helpdesk_lora@1", now=NOON, epoch=1)
    return published(RUNS, done, seq=2)


def run_failed() -> tuple[str, Message]:
    broken = claimed()
    broken.fail(reason="DIVERGED", message="the loss is nan after step 3: use a lower learning_rate", now=NOON, epoch=1)
    return published(RUNS, broken, seq=2)


def test_a_trained_version_names_its_run_base_and_dataset_version() -> None:
    source = TrainedSource(run=RUN, base="smollm2@3", dataset_version="helpdesk_sft@1")
    file = manifest_of({"README.md": b"card"}).files[0]
    trained = ModelVersion.made(
        project="acme", model="lora", number=1, source=source, artifacts=[Artifact(file=file)], now=NOON
    )

    _, payload = published(VERSIONS, trained, seq=1)

    assert isinstance(payload, ModelVersionRegistered)
    assert (payload.run, payload.base, payload.dataset_version) == (RUN, "smollm2@3", "helpdesk_sft@1")


def test_full_weights_that_were_trained_name_what_they_began_with_and_no_base() -> None:
    source = TrainedSource(run=RUN, base="", dataset_version="helpdesk_sft@1", finetuned_from="smollm2@3")
    file = manifest_of({"README.md": b"card"}).files[0]
    trained = ModelVersion.made(
        project="acme", model="whole", number=1, source=source, artifacts=[Artifact(file=file)], now=NOON
    )

    _, payload = published(VERSIONS, trained, seq=1)

    assert isinstance(payload, ModelVersionRegistered)
    assert (payload.run, payload.base, payload.finetuned_from) == (RUN, "", "smollm2@3")


@pytest.mark.parametrize("publish", [registered, failed, deleted, run_queued, run_succeeded, run_failed])
def test_an_event_is_published_as_its_golden_example(publish: Callable[[], tuple[str, Message]]) -> None:
    ce_type, payload = publish()

    example = (EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8")

    assert json_of(payload) + "\n" == example
    assert Parse(example, type(payload)()) == payload
