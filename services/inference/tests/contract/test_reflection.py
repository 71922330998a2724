"""What a client like grpcurl does: it has a key and no contract, and learns all of it from the server."""

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from services.inference.tests.contract.test_inference_api import Real
from tidemill_testkit.access import admin_token

if TYPE_CHECKING:
    from google.protobuf.message import Message

SERVICE = "tidemill.inference.v1.InferenceService"
DEPLOYMENTS = "tidemill.inference.v1.DeploymentService"


class Grpcurl:
    """Calls by names and JSON alone; it blocks, as grpc's own client for reflection does."""

    def __init__(self, port: int, *, key: str = "") -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)
        own = (("authorization", f"Bearer {key}"),) if key else ()
        self._metadata: tuple[tuple[str, str | bytes], ...] = (("tidemill-project", "acme"), *own)

    def services(self) -> set[str]:
        return set(self._database.get_services())

    def call(self, service: str, method: str, **fields: object) -> dict[str, object]:
        described = self._pool.FindServiceByName(service).methods_by_name[method]
        asked, answered = GetMessageClass(described.input_type), GetMessageClass(described.output_type)
        call: grpc.UnaryUnaryMultiCallable[Message, Message] = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answered.FromString,
        )
        request = json_format.ParseDict(fields, asked())
        return json_format.MessageToDict(call(request, metadata=self._metadata, timeout=10))

    def close(self) -> None:
        self._channel.close()


async def test_a_client_that_has_only_a_key_lists_describes_and_calls() -> None:
    server = Real().server()
    await server.start()

    def use() -> tuple[set[str], dict[str, object], dict[str, object]]:
        client = Grpcurl(server.port, key=admin_token())
        said = [{"role": "ROLE_USER", "parts": [{"text": "What does os.walk do?"}]}]
        answered = client.call(SERVICE, "Generate", deployment="helpdesk", messages=said)
        listed = client.call(DEPLOYMENTS, "ListDeployments", page_size=10)
        services = client.services()
        client.close()
        return services, answered, listed

    services, answered, listed = await asyncio.to_thread(use)
    await server.stop(1.0)

    assert {SERVICE, DEPLOYMENTS} <= services
    assert answered["inference"]["state"] == "INFERENCE_STATE_COMPLETED"  # type: ignore[index] # of the contract
    assert [each["id"] for each in listed["deployments"]] == ["helpdesk"]  # type: ignore[attr-defined] # ditto


async def test_without_a_key_a_client_describes_and_calls_nothing() -> None:
    server = Real().server()
    await server.start()

    def use() -> set[str]:
        client = Grpcurl(server.port)
        with pytest.raises(grpc.RpcError) as refused:
            client.call(DEPLOYMENTS, "ListDeployments")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        services = client.services()
        client.close()
        return services

    assert SERVICE in await asyncio.to_thread(use)
    await server.stop(1.0)
