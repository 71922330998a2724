from collections.abc import AsyncIterator

import pytest

from libs.client.tests.sdk.fakes import FakeTidemill
from tidemill_client import Addresses, Tidemill


@pytest.fixture
async def services() -> AsyncIterator[FakeTidemill]:
    fake = FakeTidemill()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def tidemill(services: FakeTidemill) -> AsyncIterator[Tidemill]:
    addresses = Addresses(services={name: f"127.0.0.1:{port}" for name, port in services.ports.items()})
    async with Tidemill("acme", addresses) as client:
        yield client
