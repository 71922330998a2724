import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.sdk.tests.fakes import FakeTidemill
from tidemill_client import Addresses, Tidemill
from tidemill_testkit.access import admin_token

SIZE = 2_000_000


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is a model."""
    path = tmp_path_factory.mktemp("model")
    header = json.dumps({"w": {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(SIZE))
    (path / "config.json").write_text("{}")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling": true}')
    return path


@pytest.fixture
async def services() -> AsyncIterator[FakeTidemill]:
    fake = FakeTidemill()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def tidemill(services: FakeTidemill) -> AsyncIterator[Tidemill]:
    addresses = Addresses(services={name: f"127.0.0.1:{port}" for name, port in services.ports.items()})
    async with Tidemill("acme", addresses, credential=admin_token) as client:
        yield client
