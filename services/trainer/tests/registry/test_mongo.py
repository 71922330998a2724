from datetime import UTC, datetime

import pytest

from services.trainer.tests.registry.fakes import manifest_of, model_files
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_trainer.errors import ModelNotFound, ModelVersionNotFound
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.sources import FolderSource, HuggingFaceSource, OpenAiSource, Source
from tidemill_trainer.registry.mongo import MODELS, VERSIONS, pending_imports

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STORED = ObjectRef(bucket="exchange", key="acme/m@1/abc", size=23, sha256="a" * 64)
HUB = HuggingFaceSource(repository="org/model")


def request() -> Request:
    return Request.of("", b"")


def version_from(source: Source, *, number: int = 1, project: str = "acme") -> ModelVersion:
    return ModelVersion.begin(
        project=project, model="m", number=number, source=source, labels={"team": "support"}, by="r1", now=NOON
    )


@pytest.fixture
def versions(database: Database) -> MongoAggregates[ModelVersion]:
    return MongoAggregates(
        database["model_versions"],
        codec=VERSIONS,
        topic="topic",
        source="/tidemill/trainer",
        missing=ModelVersionNotFound,
    )


@pytest.mark.parametrize(
    "source",
    [
        FolderSource(manifest=manifest_of(model_files())),
        HUB,
        OpenAiSource(model="gpt", base_url="https://api.example/v1", api_key_secret="KEY"),  # noqa: S106 - a name
    ],
    ids=["folder", "hugging face", "openai"],
)
async def test_a_version_is_read_as_it_was_saved(versions: MongoAggregates[ModelVersion], source: Source) -> None:
    saved = await versions.add(version_from(source), request=request())

    assert await versions.get("acme", "m@1") == saved


async def test_a_version_with_stored_files_is_read_as_it_was_saved(versions: MongoAggregates[ModelVersion]) -> None:
    await versions.add(version_from(FolderSource(manifest=manifest_of(model_files()))), request=request())

    saved = await versions.update("acme", "m@1", lambda v: v.store("config.json", STORED), request=request())

    assert await versions.get("acme", "m@1") == saved
    assert saved.artifacts[0].object == STORED


async def test_a_model_is_read_as_it_was_saved(database: Database) -> None:
    models = MongoAggregates(
        database["models"], codec=MODELS, topic="topic", source="/tidemill/trainer", missing=ModelNotFound
    )

    saved = await models.upsert(
        Model(id="m", project="acme"), lambda m: m.begin("a.b$c", alias="main"), request=request()
    )

    assert saved.numbers == {"a.b$c": 1, "main": 1}
    assert await models.get("acme", "m") == saved


async def test_only_versions_that_wait_for_a_worker_are_pending(
    database: Database, versions: MongoAggregates[ModelVersion]
) -> None:
    pending = pending_imports(database["model_versions"])
    await pending.ensure_indexes()
    await versions.add(version_from(HUB), request=request())
    await versions.add(version_from(HUB, project="other"), request=request())
    await versions.add(version_from(HUB, number=2), request=request())
    await versions.update("acme", "m@2", lambda v: v.discard(), request=request())
    await versions.add(version_from(FolderSource(manifest=manifest_of(model_files())), number=3), request=request())

    found = await pending("", without=frozenset())

    assert [name.key for name in found.items] == ["acme/m@1", "other/m@1"]
