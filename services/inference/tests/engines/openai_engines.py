"""Engines of OpenAI-compatible servers, and what they give to one question."""

from pydantic import SecretStr

from services.inference.tests.engines.openai_server import OpenAiServer
from tidemill_core.origins import AllowedHosts
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.ports import Generated, Prompt, RemoteModel
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_kit.outgoing.addresses import CheckedAddresses
from tidemill_kit.outgoing.resolver import system_resolver

ASKED = (Message.of(Role.SYSTEM, "Be brief."), Message.of(Role.USER, "What does os.walk do?"))
NONE = Sampling()


def here() -> CheckedAddresses:
    """Return the addresses of this machine."""
    return CheckedAddresses(allowed=AllowedHosts.of(["127.0.0.1"]), resolve=system_resolver(), connect_s=2)


def engine_for(server: OpenAiServer, *, key: str = "", stall_s: float = 2.0) -> OpenAiEngine:
    return engine_at(server.url, key=key, stall_s=stall_s)


def engine_at(url: str, *, key: str = "", stall_s: float = 2.0, frank: bool = True) -> OpenAiEngine:
    return OpenAiEngine(
        RemoteModel(model="gpt", base_url=url),
        key=SecretStr(key) if key else None,
        addresses=here(),
        stall_s=stall_s,
        frank=frank,
    )


async def received(engine: OpenAiEngine, sampling: Sampling = NONE, *, timeout_s: float = 5) -> list[Generated]:
    try:
        return await generated(engine, sampling, timeout_s=timeout_s)
    finally:
        await engine.close()


async def generated(engine: OpenAiEngine, sampling: Sampling = NONE, *, timeout_s: float = 5) -> list[Generated]:
    return [each async for each in engine.generate(Prompt(messages=ASKED, sampling=sampling), timeout_s=timeout_s)]
