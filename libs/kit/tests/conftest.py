"""Stores of the test's own on the real servers."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tidemill_kit.mongo import Database, connect
from tidemill_kit.objects import ObjectStore
from tidemill_local.addresses import Addresses


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = f"kit_{uuid4().hex[:12]}"
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
def object_store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
