"""What clients choose from: read from the registry's files, never from a loaded model."""

import json

import pytest

from services.inference.tests.fakes import ADA, Registry
from services.inference.tests.openai_api.apis import Facts, deployment
from tidemill_core.application import PageRequest
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.served_models.read_served_models import ReadServedModels
from tidemill_inference.served_models.registry_facts import RegistryFacts
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

BUCKET = "models"


def reading(registry: Registry, *models: str) -> ReadServedModels:
    deployments = InMemoryAggregates(
        *(deployment(model.partition("@")[0], model=model) for model in models),
        codec=DEPLOYMENTS,
        missing=DeploymentNotFound,
    )
    return ReadServedModels(deployments=deployments, models=registry, facts=Facts())


async def test_a_list_has_what_is_known_and_leaves_out_what_is_not() -> None:
    read = reading(Registry(tiny=1, unread=1), "tiny@1", "unread@1", "gone@1")

    page = await read.list(ADA, page=PageRequest())

    assert {each.model: each.context_tokens for each in page.items} == {
        "tiny@1": 2048,
        "unread@1": None,
        "gone@1": None,
    }


async def test_a_trainer_that_is_down_hides_no_deployment() -> None:
    registry = Registry(tiny=1)
    registry.down = DependencyUnavailable("the trainer does not answer", dependency="trainer")

    served = await reading(registry, "tiny@1").get(ADA, "tiny")

    assert (served.id, served.context_tokens) == ("tiny", None)


async def model_of(objects: InMemoryObjects, config: object, **fields: object) -> ModelVersion:
    ref = await ExchangeBucket(objects, BUCKET).put(
        "acme", "tiny@1", json.dumps(config).encode(), media_type="application/json"
    )
    return ModelVersion(**{"id": "tiny@1", "digest": "d", "files": {"config.json": ref}, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 1024}}, 1024),
        ({"n_positions": 512}, 512),
        ({"max_position_embeddings": 131072}, 8192),
        ({"max_position_embeddings": "long"}, None),
        ([], None),
    ],
)
async def test_the_context_is_what_the_configuration_declares_within_the_engine_s_cache(
    config: object, expected: int | None
) -> None:
    objects = InMemoryObjects(BUCKET)
    facts = RegistryFacts(ExchangeBucket(objects, BUCKET), cache_tokens=8192, adapter_cache_tokens=600)

    assert await facts.context_tokens(ADA, await model_of(objects, config)) == expected


async def test_an_adapter_has_its_base_s_context_within_a_cache_of_its_own() -> None:
    objects = InMemoryObjects(BUCKET)
    facts = RegistryFacts(ExchangeBucket(objects, BUCKET), cache_tokens=8192, adapter_cache_tokens=600)
    base = await model_of(objects, {"max_position_embeddings": 2048})

    assert await facts.context_tokens(ADA, ModelVersion(id="style@1", digest="e", base=base)) == 600
    assert await facts.context_tokens(ADA, base) == 2048


async def test_of_a_remote_model_no_length_is_invented() -> None:
    facts = RegistryFacts(ExchangeBucket(InMemoryObjects(BUCKET), BUCKET), cache_tokens=8192, adapter_cache_tokens=1)
    remote = ModelVersion(id="gpt@1", digest="r", remote=RemoteModel(model="gpt", base_url="https://api.example/v1"))

    assert await facts.context_tokens(ADA, remote) is None


async def test_a_version_is_read_once() -> None:
    objects = InMemoryObjects(BUCKET)
    facts = RegistryFacts(ExchangeBucket(objects, BUCKET), cache_tokens=8192, adapter_cache_tokens=1)
    model = await model_of(objects, {"max_position_embeddings": 2048})
    await facts.context_tokens(ADA, model)
    await objects.delete_prefix(BUCKET, "")

    assert await facts.context_tokens(ADA, model) == 2048
