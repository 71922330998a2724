import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import InMemoryArtifacts
from tidemill_core.models.manifest import ArtifactFile
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name
from tidemill_trainer.registry.exchange_artifacts import ExchangeArtifacts
from tidemill_trainer.registry.ports import Artifacts

CONTENT = b'{"model_type": "llama"}'
FILE = ArtifactFile("config.json", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
async def store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


@pytest.fixture
async def bucket(store: ObjectStore) -> AsyncIterator[str]:
    name = unique_name("trainer")
    await store.ensure_bucket(name)
    yield name
    await store.delete_prefix(name, "")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(CONTENT)
    return path


def exchange_of(store: ObjectStore, bucket: str) -> ExchangeArtifacts:
    return ExchangeArtifacts(store, ExchangeBucket(store, bucket))


class TestEveryStore:
    """Contract suite of the fake and the exchange bucket."""

    @pytest.fixture(params=["memory", "s3"])
    def artifacts(self, request: pytest.FixtureRequest) -> Artifacts:
        if request.param == "memory":
            return InMemoryArtifacts()
        return exchange_of(request.getfixturevalue("store"), request.getfixturevalue("bucket"))

    async def test_a_file_is_stored_under_project_version_and_digest(self, artifacts: Artifacts, local: Path) -> None:
        stored = await artifacts.put("acme", "m@1", file=FILE, local=local)

        assert stored.key == f"acme/m@1/{FILE.sha256}"
        assert (stored.size, stored.sha256) == (FILE.size, FILE.sha256)
        assert await artifacts.is_whole(stored)

    async def test_the_same_file_again_is_stored_again(self, artifacts: Artifacts, local: Path) -> None:
        assert await artifacts.put("acme", "m@1", file=FILE, local=local) == await artifacts.put(
            "acme", "m@1", file=FILE, local=local
        )

    async def test_what_is_not_there_or_has_another_size_is_not_whole(self, artifacts: Artifacts, local: Path) -> None:
        stored = await artifacts.put("acme", "m@1", file=FILE, local=local)

        assert not await artifacts.is_whole(replace(stored, size=stored.size + 1))
        assert not await artifacts.is_whole(replace(stored, key="acme/m@2/" + FILE.sha256))
        assert not await artifacts.is_whole(replace(stored, key=stored.key[:-1]))

    async def test_a_stored_file_is_read_back_and_one_that_is_gone_is_missing(
        self, artifacts: Artifacts, local: Path
    ) -> None:
        stored = await artifacts.put("acme", "m@1", file=FILE, local=local)
        copy = local.with_name("copy")

        await artifacts.get(stored, copy)

        assert copy.read_bytes() == CONTENT
        with pytest.raises(ObjectMissing):
            await artifacts.get(replace(stored, key=f"acme/m@2/{FILE.sha256}"), copy)


async def test_another_service_reads_what_was_stored(store: ObjectStore, bucket: str, local: Path) -> None:
    stored = await exchange_of(store, bucket).put("acme", "m@1", file=FILE, local=local)

    assert await ExchangeBucket(store, bucket).get(stored) == CONTENT
