import grpc

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.engines.trainer import TrainerModels


class Registry:
    """Answers as the trainer does, with what a test says."""

    def __init__(self, source: model_pb2.ModelSource) -> None:
        self.source = source
        self.asked = 0
        self.down = False

    async def GetModelVersion(  # noqa: N802 - the contract's name
        self, request: model_registry_service_pb2.GetModelVersionRequest, **_: object
    ) -> model_registry_service_pb2.GetModelVersionResponse:
        self.asked += 1
        if self.down:
            message = "it is down"
            raise DependencyUnavailable(message, dependency="trainer")
        version = model_pb2.ModelVersion(
            id=request.id, state=model_pb2.MODEL_VERSION_STATE_READY, digest="d", source=self.source
        )
        return model_registry_service_pb2.GetModelVersionResponse(version=version)


def remote(secret: str) -> model_pb2.ModelSource:
    return model_pb2.ModelSource(
        openai=model_pb2.OpenAiSource(model="gpt", base_url="https://api.example/v1", api_key_secret=secret)
    )


async def models(registry: Registry, *, recheck_s: float) -> TrainerModels:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    await channel.close()
    made = TrainerModels(channel, timeout_s=1, recheck_s=recheck_s)
    made._registry = registry  # type: ignore[assignment] # noqa: SLF001 - in place of the stub
    return made


async def test_another_secret_of_a_remote_model_counts_without_a_restart() -> None:
    registry = Registry(remote("OLD_KEY"))
    known = await models(registry, recheck_s=0)

    secrets = []
    for name in ("OLD_KEY", "NEW_KEY"):
        registry.source = remote(name)
        found = await known.resolve("acme", "gpt@1", field="model")
        secrets.append(found.remote and found.remote.secret)

    assert secrets == ["OLD_KEY", "NEW_KEY"]


async def test_a_remote_model_answers_on_while_the_trainer_is_down() -> None:
    registry = Registry(remote("KEY"))
    known = await models(registry, recheck_s=0)
    first = await known.resolve("acme", "gpt@1", field="model")
    registry.down = True

    assert await known.resolve("acme", "gpt@1", field="model") == first


async def test_a_model_of_files_is_asked_for_once_and_a_remote_one_once_in_a_while() -> None:
    for source, recheck_s in ((model_pb2.ModelSource(folder=model_pb2.FolderSource()), 0.0), (remote("KEY"), 60.0)):
        registry = Registry(source)
        known = await models(registry, recheck_s=recheck_s)
        for _ in range(3):
            await known.resolve("acme", "gpt@1", field="model")
        assert registry.asked == 1
