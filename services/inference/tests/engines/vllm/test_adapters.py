"""How adapters come into a server of vLLM, which is a small server of the tests, in a thread of theirs."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.inference.tests.engines.vllm.fake_vllm import Handler, State
from tidemill_core.errors import InvalidInput
from tidemill_core.origins import AllowedHosts
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import RemoteModel
from tidemill_inference.engines.vllm.client import Encoded, VllmClient
from tidemill_kit.outgoing.addresses import CheckedAddresses
from tidemill_kit.outgoing.resolver import system_resolver

TIMEOUT_S = 60


@pytest.fixture
async def port() -> AsyncIterator[int]:
    for known in (State.adapters, State.reads, State.in_place):
        known.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    await asyncio.to_thread(server.shutdown)
    server.server_close()
    thread.join()


@asynccontextmanager
async def client(port: int, model: str = "base") -> AsyncIterator[VllmClient]:
    """Return the client of a replica of inference."""
    addresses = CheckedAddresses(
        allowed=AllowedHosts.of((f"127.0.0.1:{port}",)), resolve=system_resolver(), connect_s=TIMEOUT_S
    )
    remote = RemoteModel(model=model, base_url=f"http://127.0.0.1:{port}")
    made = VllmClient(remote, key=SecretStr("k"), addresses=addresses, stall_s=TIMEOUT_S)
    yield made
    await made.close()


async def test_an_adapter_is_read_once_however_often_it_is_loaded_and_used(port: int) -> None:
    async with client(port) as one, client(port) as other, client(port, "a") as adapted:
        await asyncio.gather(one.load_adapter("a", "/a"), other.load_adapter("a", "/a"))
        await one.load_adapter("a", "/a")
        prompt = Encoded(messages=(), sampling=Sampling(temperature=0.0), tokens=[0], max_tokens=3)
        said = [getattr(each, "text", "") async for each in adapted.generate(prompt, timeout_s=TIMEOUT_S)]

    assert "".join(said) == "AAA"
    assert State.reads == {"a": 1}


async def test_an_adapter_that_is_refused_is_not_there(port: int, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    async with client(port) as replica:
        with pytest.raises(InvalidInput):
            await replica.load_adapter("a", str(tmp_path))

        assert [each.id for each in await replica.models()] == ["base"]
