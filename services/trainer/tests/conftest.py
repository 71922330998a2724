from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import Registry
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Return a registry on in-memory stores."""
    return Registry(folder=tmp_path)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("trainer")
    yield client[name]
    await client.drop_database(name)
    client.close()
