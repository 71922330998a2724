"""What clients choose from: read from the registry's files, never from a loaded model."""

import asyncio
import json

import pytest

from services.inference.tests.fakes import ADA, Registry
from services.inference.tests.openai_api.apis import Facts, deployment
from tidemill.inference.v1 import served_model_pb2, served_model_service_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import PageRequest
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.grpc.context import bind_call
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.engines.local import declared_capabilities
from tidemill_inference.engines.ports import Capability, ModelVersion, RemoteModel
from tidemill_inference.served_models.grpc import GrpcServedModelService
from tidemill_inference.served_models.read_served_models import ReadServedModels
from tidemill_inference.served_models.registry_facts import RegistryFacts
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

BUCKET = "models"
ALL = frozenset(Capability)


def facts_of(objects: InMemoryObjects) -> RegistryFacts:
    bucket = ExchangeBucket(objects, BUCKET)
    return RegistryFacts(bucket, cache_tokens=8192, adapter_cache_tokens=600, declares=declared_capabilities)


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
    facts = facts_of(objects)

    assert (await facts.declared(ADA, await model_of(objects, config))).context_tokens == expected


async def test_an_adapter_has_its_base_s_context_within_a_cache_of_its_own() -> None:
    objects = InMemoryObjects(BUCKET)
    facts = facts_of(objects)
    base = await model_of(objects, {"max_position_embeddings": 2048})

    assert (await facts.declared(ADA, ModelVersion(id="style@1", digest="e", base=base))).context_tokens == 600
    assert (await facts.declared(ADA, base)).context_tokens == 2048


async def test_of_a_remote_model_no_length_is_invented() -> None:
    facts = facts_of(InMemoryObjects(BUCKET))
    remote = ModelVersion(id="gpt@1", digest="r", remote=RemoteModel(model="gpt", base_url="https://api.example/v1"))

    assert (await facts.declared(ADA, remote)).context_tokens is None


async def test_a_version_is_read_once() -> None:
    objects = InMemoryObjects(BUCKET)
    facts = facts_of(objects)
    model = await model_of(objects, {"max_position_embeddings": 2048})
    await facts.declared(ADA, model)
    await objects.delete_prefix(BUCKET, "")

    assert (await facts.declared(ADA, model)).context_tokens == 2048


async def test_who_asks_at_the_same_time_waits_for_the_first_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    objects, read = InMemoryObjects(BUCKET), list[str]()
    facts, model = facts_of(objects), await model_of(objects, {"n_positions": 512})
    get = ExchangeBucket.get

    async def counted(self: ExchangeBucket, ref: ObjectRef) -> bytes:
        read.append(ref.key)
        await asyncio.sleep(0)
        return await get(self, ref)

    monkeypatch.setattr(ExchangeBucket, "get", counted)

    known = await asyncio.gather(*(facts.declared(ADA, model) for _ in range(3)))

    assert ([each.context_tokens for each in known], len(read)) == ([512] * 3, 1)


BYTES = {"decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}}
TOOLS = "{% if tools %}<tool_call>{% endif %}"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer.json": BYTES, "chat_template.jinja": TOOLS}, ALL),
        ({"tokenizer.json": BYTES, "tokenizer_config.json": {"chat_template": TOOLS}}, ALL),
        (
            {
                "tokenizer.json": BYTES,
                "tokenizer_config.json": {"chat_template": [{"name": "default", "template": TOOLS}]},
            },
            ALL,
        ),
        ({"tokenizer.json": BYTES, "chat_template.jinja": "{{ messages }}"}, ALL - {Capability.TOOLS}),
        (
            {"tokenizer.json": {"decoder": {"type": "WordPiece"}}, "chat_template.jinja": TOOLS},
            ALL - {Capability.TOOLS, Capability.JSON_SCHEMA},
        ),
        ({"tokenizer.json": [], "chat_template.jinja": TOOLS}, None),
        ({"tokenizer.json": BYTES}, None),
        ({"chat_template.jinja": TOOLS}, None),
    ],
)
async def test_what_a_model_can_be_asked_for_is_what_its_template_and_tokenizer_say(
    files: dict[str, object], expected: frozenset[Capability] | None
) -> None:
    objects = InMemoryObjects(BUCKET)
    bucket = ExchangeBucket(objects, BUCKET)
    stored = {
        name: await bucket.put(
            "acme",
            "tiny@1",
            (content if isinstance(content, str) else json.dumps(content)).encode(),
            media_type="application/octet-stream",
        )
        for name, content in files.items()
    }

    declared = await facts_of(objects).declared(ADA, ModelVersion(id="tiny@1", digest="d", files=stored))

    assert declared.capabilities == expected


async def test_a_remote_model_gets_everything_and_one_that_is_gone_is_said_nothing_of() -> None:
    remote = ModelVersion(id="gpt@1", digest="r", remote=RemoteModel(model="gpt", base_url="https://api.example/v1"))

    assert (await facts_of(InMemoryObjects(BUCKET)).declared(ADA, remote)).capabilities == ALL
    assert (await reading(Registry(), "gone@1").get(ADA, "gone")).capabilities is None


async def test_capabilities_go_over_grpc() -> None:
    service = GrpcServedModelService(reading(Registry(tiny=1), "tiny@1"))

    bind_call(ADA, remaining_s=None)
    reply = await service.GetServedModel(served_model_service_pb2.GetServedModelRequest(id="tiny"), None)

    names = [served_model_pb2.ModelCapability.Name(each) for each in reply.served_model.capabilities]
    assert names == ["MODEL_CAPABILITY_LOGPROBS", "MODEL_CAPABILITY_TOOLS"]
