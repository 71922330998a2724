"""Real servers for tests: Kafka, MongoDB and S3, started once per run, or attached to.

`TIDEMILL_TEST_STACK` may name a stack.json: then its servers are used and left running, which saves their start.
Every test makes its own topics, databases, buckets and projects: see `unique_name`.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tidemill_local import Addresses, LocalStack

ATTACH = "TIDEMILL_TEST_STACK"

NewTopicFactory = Callable[..., Awaitable[str]]
"""Called with `partitions=1, configs={}`; returns the topic's name."""


def unique_name(prefix: str) -> str:
    """Return a name that no other test has, good for topics, databases, buckets and projects."""
    return f"{prefix}-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def stack() -> Iterator[Addresses]:
    """Give the addresses of Kafka, MongoDB and S3 (of the services only when the attached stack runs them)."""
    if running := os.environ.get(ATTACH):
        yield Addresses.read(Path(running))
        return
    with tempfile.TemporaryDirectory(prefix="tidemill-test-") as folder:
        own = LocalStack(Path(folder), services=False)
        try:
            yield own.up()
        finally:
            own.down()


@pytest.fixture
async def new_topic(stack: Addresses) -> AsyncIterator[NewTopicFactory]:
    """Give a function that creates a topic of the test's own; they are deleted when the test ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    names: list[str] = []

    async def create(*, partitions: int = 1, configs: Mapping[str, str] | None = None) -> str:
        name = unique_name("test")
        reply = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs or {}))])
        refused = [error for _, error, *_ in reply.topic_errors if error]
        assert not refused, reply
        names.append(name)
        return name

    yield create
    if names:
        await admin.delete_topics(names)
    await admin.close()
