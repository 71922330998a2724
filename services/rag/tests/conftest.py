from collections.abc import AsyncIterator

import pytest

from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("rag")
    yield client[name]
    await client.drop_database(name)
    client.close()
