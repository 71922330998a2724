import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.training.fakes import Harness, dataset_version
from tidemill.ingest.v1.events_pb2 import DatasetVersionApproved, DatasetVersionPublished
from tidemill_core.application import PageRequest
from tidemill_kit.events.subscriptions import Delivery, EventContext
from tidemill_trainer.training.events import APPROVED, PUBLISHED, TOPIC, datasets


def body() -> str:
    part = dataset_version().train
    return json.dumps(
        {
            "dataset": "sft",
            "version": "sft@1",
            "train": {
                "bucket": part.bucket,
                "key": part.key,
                "size": str(part.size),
                "sha256": part.sha256,
                "examples": 100,
            },
            "curation_seq": "3",
        }
    )


def context() -> EventContext:
    return EventContext(
        id="e1",
        source="/tidemill/ingest",
        type=PUBLISHED,
        subject="sft",
        project="acme",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        seq=1,
        topic=TOPIC,
        partition=0,
        offset=0,
        data=b"{}",
    )


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(folder=tmp_path).with_base()


async def test_a_version_that_needs_approvals_queues_its_run_when_it_has_them_however_often_that_comes(
    harness: Harness,
) -> None:
    await harness.plan()
    routes = datasets(harness.consume).routes
    needs = json.dumps(json.loads(body()) | {"missing_approvals": 1})

    await routes[PUBLISHED].handle(context(), routes[PUBLISHED].model.model_validate_json(needs))
    assert not (await harness.run_crud.list(ADA, PageRequest(), plan="lora")).items

    for _ in range(2):
        await routes[APPROVED].handle(context(), routes[APPROVED].model.model_validate_json(body()))
    (run,) = (await harness.run_crud.list(ADA, PageRequest(), plan="lora")).items
    assert run.dataset == dataset_version()


async def test_a_version_that_is_published_queues_a_run_however_often_it_comes(harness: Harness) -> None:
    await harness.plan()
    subscription = datasets(harness.consume)
    route = subscription.routes[PUBLISHED]

    for _ in range(2):
        await route.handle(context(), route.model.model_validate_json(body()))

    (run,) = (await harness.run_crud.list(ADA, PageRequest(), plan="lora")).items
    assert run.dataset == dataset_version()
    assert subscription.delivery is Delivery.ONCE
    assert subscription.dead_letter_topic == "tidemill.trainer.datasets.dead.v1"


@pytest.mark.parametrize(
    ("ce_type", "message"), [(PUBLISHED, DatasetVersionPublished), (APPROVED, DatasetVersionApproved)]
)
def test_what_is_read_of_an_event_is_in_its_contract(ce_type: str, message: type[Message]) -> None:
    read = datasets(None).routes[ce_type].model  # type: ignore[arg-type] # it is not called

    contract = message.DESCRIPTOR.fields_by_name
    assert set(read.model_fields) <= set(contract)
    part = read.model_fields["train"].annotation
    assert part is not None
    train = contract["train"].message_type
    assert train is not None
    assert set(part.model_fields) <= set(train.fields_by_name)
