import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.ingest.tests.process.harness import IngestProcess, Project, project_of
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.stack import unique_name


@pytest.fixture(scope="package")
def new_process(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestProcess]:
    topic, curations = unique_name("submissions"), unique_name("curations")
    process = IngestProcess(stack=stack, folder=tmp_path_factory.mktemp("ingest"), topic=topic, curations=curations)
    for each in (topic, curations, process.reviews):
        asyncio.run(_topic(stack.kafka, create=each))
    yield process
    asyncio.run(_clean_up(process))


async def _clean_up(process: IngestProcess) -> None:
    for topic in (process.topic, process.curations, process.reviews):
        await _topic(process.stack.kafka, delete=topic)
    for bucket in (process.quarantine, process.exchange, process.datasets, process.feedback):
        await remove_bucket(process.stack, bucket)
    client = connect(process.stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


@pytest.fixture(scope="package")
def ingest(new_process: IngestProcess) -> Iterator[IngestProcess]:
    new_process.start()
    yield new_process
    assert new_process.stop() == 0


@pytest.fixture
async def project(ingest: IngestProcess) -> AsyncIterator[Project]:
    async with project_of(ingest) as made:
        yield made


async def _topic(bootstrap: str, *, create: str = "", delete: str = "") -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    if create:
        await admin.create_topics([NewTopic(create, 3, 1)])
    if delete:
        await admin.delete_topics([delete])
    await admin.close()
