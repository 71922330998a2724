"""What the platform of fakes says where it has no answer."""

import pytest

from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateStreamRequest
from tidemill_client.connection import Connection
from tidemill_core.errors import DependencyUnavailable

MESSAGE = "does not implement the call"


async def test_a_call_that_nothing_answers_is_unimplemented(connection: Connection) -> None:
    with pytest.raises(DependencyUnavailable, match=MESSAGE):
        await connection.inferences.Generate(GenerateRequest())


async def test_a_stream_that_nothing_answers_is_unimplemented(connection: Connection) -> None:
    with pytest.raises(DependencyUnavailable, match=MESSAGE):
        [piece async for piece in connection.inferences.GenerateStream(GenerateStreamRequest())]
