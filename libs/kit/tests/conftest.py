"""Stores of the test's own on the real servers."""

from collections.abc import AsyncIterator

import pytest

from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.stack import unique_name


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("kit")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
def object_store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


@pytest.fixture
async def real_bucket(stack: Addresses, object_store: ObjectStore) -> AsyncIterator[str]:
    name = unique_name("kit")
    await object_store.ensure_bucket(name)
    yield name
    await remove_bucket(stack, name)
