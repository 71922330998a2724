"""How records of answers are cleared away."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.generation.test_erase_end_user import answered
from tidemill_core.application import PageRequest, Request
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.mongo import INFERENCES, MongoRecords
from tidemill_inference.generation.retention import ForgetRecords
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_local.addresses import Addresses
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.retained import FakeRetained
from tidemill_testkit.stack import unique_name


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    yield client[unique_name("inference")]
    client.close()


async def test_old_records_go_deployment_by_deployment_when_their_events_are_out(database: Database) -> None:
    clock = FixedClock()
    deployments = MongoAggregates(
        database["deployments"], codec=DEPLOYMENTS, topic="t", source="/s", missing=DeploymentNotFound
    )
    inferences = MongoAggregates(
        database["inferences"],
        codec=INFERENCES,
        topic="t",
        source="/s",
        missing=InferenceNotFound,
        clock=clock,
        lists=[("deployment",)],
    )
    live = Configuration.of(model="m@1", prompt="p@1", sampling=Sampling(), retrieval=None)
    for name, days in (("brief", 30), ("forever", 0)):
        spec = DeploymentSpec(model="m", prompt="p", record_days=days)
        await deployments.add(Deployment(id=name, project="acme", spec=spec, live=live), request=Request.internal())
    for project, name in (("acme", "brief"), ("acme", "forever"), ("held", "brief")):
        for number in range(3):
            record = replace(answered(f"old-{name}-{number}", deployment=name), project=project, end_user=f"u{number}")
            await inferences.add(record, request=Request.internal())
    await database["inferences"].update_many({"_id": {"$ne": "acme/old-brief-2"}}, {"$set": {"outbox": []}})
    clock.advance(timedelta(days=31))
    await inferences.add(answered("young", deployment="brief"), request=Request.internal())
    records = MongoRecords(database["deployments"], database["inferences"])
    await records.ensure_indexes()
    await inferences.ensure_indexes()

    retained = FakeRetained(spared={"held"})
    forget = ForgetRecords(records=records, retained=retained, clock=clock)
    assert await forget() == 2

    left = await inferences.list("acme", page=PageRequest())
    assert sorted(each.id for each in left.items) == [
        "old-brief-2",
        "old-forever-0",
        "old-forever-1",
        "old-forever-2",
        "young",
    ]
    assert len((await inferences.list("held", page=PageRequest())).items) == 3

    retained.kept = {"acme": timedelta(days=7), "held": timedelta(days=7)}
    assert await forget() == 3
    left = await inferences.list("acme", page=PageRequest())
    assert sorted(each.id for each in left.items) == ["old-brief-2", "young"]
    retained.spared.clear()
    assert await forget() == 3
    assert not (await inferences.list("held", page=PageRequest())).items


async def test_records_that_say_how_an_erased_document_was_called_are_found_until_they_do_not(
    database: Database,
) -> None:
    inferences = MongoAggregates(
        database["inferences"], codec=INFERENCES, topic="t", source="/s", missing=InferenceNotFound
    )
    plain = answered("plain").passages[0]
    theirs, others = (replace(plain, document=name, title=f"Title of {name}", key=name) for name in ("d7", "d8"))
    for name, passages in (
        ("both", (theirs, others)),
        ("other", (others,)),
        ("plain", (replace(plain, document="d7"),)),
    ):
        await inferences.add(replace(answered(name), passages=passages), request=Request.internal())
    await inferences.add(replace(answered("both"), passages=(theirs,), project="globex"), request=Request.internal())
    records = MongoRecords(database["deployments"], database["inferences"])

    assert await records.naming("acme", "d7", limit=10) == ["both"]
    kept = await inferences.update(
        "acme", "both", lambda record: record.forget_names_of("d7"), request=Request.internal()
    )
    assert await records.naming("acme", "d7", limit=10) == []
    assert [(each.document, each.title, each.key) for each in kept.passages] == [
        ("d7", "", ""),
        ("d8", "Title of d8", "d8"),
    ]
    assert await records.naming("globex", "d7", limit=10) == ["both"]
