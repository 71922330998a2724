"""The engine that answers: whether it does yet, and whether it is the one that was asked for."""

import os
from collections.abc import Mapping

from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.status.v1.status_service_pb2 import GetStatusRequest
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_client.connection import Connection
from tidemill_core.errors import PreconditionFailed
from tidemill_helpdesk.patience import until

ASKED = "INFERENCE_ENGINE"
"""The setting of inference, which `make demo ENGINE=vllm` starts it with."""


class OtherEngine(PreconditionFailed):
    """Another engine answers than the one that was asked for."""

    reason = "OTHER_ENGINE"


async def until_loaded(connection: Connection) -> None:
    """Wait until inference has loaded the model, which takes vLLM a minute.

    Raises:
        DeadlineExceeded: it has not.

    """

    async def loaded() -> bool | None:
        status = (await StatusServiceStub(connection.channel("inference")).GetStatus(GetStatusRequest())).status
        return status.ready or None

    await until(loaded, "inference did not load the model", waiting="loading the model")


def engine_of(inference: Inference, *, environment: Mapping[str, str] = os.environ) -> str:
    """Return the engine that an answer came from.

    Raises:
        OtherEngine: another one was asked for.

    """
    asked, found = environment.get(ASKED, ""), inference.variant.engine
    if asked and found.partition(" ")[0] != asked:
        message = (
            f"{ASKED} is {asked} and {found or 'no engine'} answers: end a stack that was started with another one by "
            "`make down`, and see `tidemill logs inference` for why it cannot run here"
        )
        raise OtherEngine(message)
    return found
