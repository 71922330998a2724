import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.ingest.tests.process.harness import ErasingProcess, IngestProcess, Project, project_of
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.stack import unique_name

P = TypeVar("P", bound=IngestProcess)


@pytest.fixture(scope="session")
def new_process(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestProcess]:
    with _made(IngestProcess, stack, tmp_path_factory.mktemp("ingest")) as process:
        yield process


@pytest.fixture(scope="module")
def erasing(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErasingProcess]:
    """Return a running process that demands credentials, and so knows deleted projects and legal holds."""
    with _made(ErasingProcess, stack, tmp_path_factory.mktemp("erasing")) as process:
        process.start()
        yield process
        assert process.stop() == 0


@contextmanager
def _made(kind: type[P], stack: Addresses, folder: Path) -> Iterator[P]:
    topic, curations = unique_name("submissions"), unique_name("curations")
    for each in (topic, curations):
        asyncio.run(_topic(stack.kafka, create=each))
    process = kind(stack=stack, folder=folder, topic=topic, curations=curations)
    yield process
    asyncio.run(_clean_up(process))


async def _clean_up(process: IngestProcess) -> None:
    for topic in (process.topic, process.curations):
        await _topic(process.stack.kafka, delete=topic)
    for bucket in (process.quarantine, process.exchange, process.datasets, process.feedback):
        await remove_bucket(process.stack, bucket)
    client = connect(process.stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


@pytest.fixture(scope="session")
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
