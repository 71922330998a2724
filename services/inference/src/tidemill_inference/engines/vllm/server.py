"""A server of vLLM with one base model, and the adapters that are loaded into it.

It is a child of this process, which is started again when it ends, or one that an operator runs at an address.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from pydantic import SecretStr

from tidemill_core.errors import (
    Blame,
    DependencyUnavailable,
    InvalidInput,
    PreconditionFailed,
    TidemillError,
    isolated,
)
from tidemill_core.origins import AllowedHosts, Origin
from tidemill_inference.engines.ports import RemoteModel
from tidemill_inference.engines.vllm import gauges
from tidemill_inference.engines.vllm.client import VllmClient
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_inference.engines.vllm.process import BASE, Served, VllmProcess, shorten
from tidemill_inference.errors import ModelRefused, ServerEnded
from tidemill_kit.outgoing.addresses import CheckedAddresses
from tidemill_kit.outgoing.resolver import system_resolver

POLL_S = 2.0
"""How often its gauges are read, and whether it answers is known."""
_SILENT_S = 60.0
"""After which a server that runs and does not answer is ended."""
_STARTING_POLL_S = 0.25
_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 60.0
_STEADY_S = 120.0
"""How long a server has to run for its next end to count as a first one."""
_CONNECT_S = 5.0

Files = Callable[[], Awaitable[Path]]
"""Verifies files against their manifest, and returns their folder."""
_log = structlog.get_logger()


class Running(Protocol):
    """What runs a server."""

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        ...

    async def wait(self) -> int:
        """Return its exit status when it has ended."""
        ...

    async def end(self) -> None:
        """End it, where it is ours."""
        ...


class VllmServer:
    """Serves from `start` to `close`; while it is down, `client` says so at once."""

    def __init__(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        name: str,
        options: VllmOptions,
        *,
        files: Files,
        served: Served | None,
        url: str = "",
        served_as: str = "",
        digest: str = "",
    ) -> None:
        """`served` is what a child is given; without it the server is at `url`, which has the model as `served_as`.

        `digest` is the model's.
        """
        self.name = name
        self._digest = digest
        self._options = options
        self._files = files
        self._served = served
        self._url = url
        self._base = BASE if served else served_as
        self._key = options.key or SecretStr("none") if url else SecretStr(secrets.token_urlsafe(32))
        self._clients: dict[str, VllmClient] = {}
        self._adapters: dict[str, Files] = {}
        self._up = asyncio.Event()
        self._was_up = False
        self._keeping: asyncio.Task[None] | None = None
        self.process: VllmProcess | None = None
        """The child, if it has one."""
        self.incarnation = ""
        """Names its last start, among those of all servers."""

    @property
    def up(self) -> bool:
        """Whether it answers."""
        return self._up.is_set()

    @property
    def alive(self) -> bool:
        """Whether it answers, or is going to."""
        return self._keeping is not None and not self._keeping.done()

    @property
    def log(self) -> Path:
        """Where a child's own lines are."""
        assert self._served is not None  # noqa: S101 - of a child only
        return self._served.folder.with_suffix(".log")

    async def start(self) -> None:
        """Return when it answers.

        Raises:
            ModelRefused: vLLM ended instead.
            DependencyUnavailable: it did not answer in time.

        """
        self._keeping = asyncio.create_task(self._keep(), name=f"vllm {self.name}")
        first = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait({first, self._keeping}, return_when=asyncio.FIRST_COMPLETED)
            if self._keeping.done():
                await self._keeping
        except BaseException:
            await self.close()
            raise
        finally:
            first.cancel()

    async def close(self) -> None:
        """End it; requests under way fail."""
        if self._keeping is not None:
            self._keeping.cancel()
            # A caller that is cancelled does not interrupt the end of the process.
            await asyncio.wait({self._keeping})
            if not self._keeping.cancelled():
                self._keeping.exception()
        gauges.forget(self.name)

    def client(self, adapter: str = "") -> VllmClient:
        """Return the client of the base, or of an adapter.

        Raises:
            ServerEnded: it does not answer at the moment.

        """
        if not self.up:
            message = f"vLLM is down and started again for model {self.name}: try again in a minute"
            raise ServerEnded(message, model=self.name, base=self._digest)
        return self._client(adapter or self._base)

    async def check_served(self, incarnation: str) -> None:
        """Return if what failed in an incarnation was one answer, and not the server.

        Raises:
            ServerEnded: the server has ended since, or is about to.

        """
        if self.up and self.incarnation == incarnation and await self._client(self._base).healthy():
            return
        message = f"vLLM ended while it answered for model {self.name}, and is started again: try again in a minute"
        raise ServerEnded(message, model=self.name, base=self._digest, incarnation=incarnation)

    async def add(self, adapter: str, files: Files, *, named: str) -> None:
        """Have it serve an adapter, also after it was started again; idempotent. `named` is its `model@version`.

        Raises:
            ModelRefused: its files are not what they should be, or it cannot be served.
            DependencyUnavailable: the server does not answer.

        """
        client = self.client()
        folder = await files()
        try:
            await client.load_adapter(adapter, str(folder))
        except (InvalidInput, PreconditionFailed) as error:
            rank = self._options.adapter_rank
            why = f"vLLM does not take it: its rank may exceed INFERENCE_VLLM_ADAPTER_RANK ({rank}), or see vLLM's log"
            raise ModelRefused(named, why=why) from error
        self._adapters[adapter] = files

    def serves(self, adapter: str) -> bool:
        """Whether it has an adapter, or has it once it answers again."""
        return adapter in self._adapters

    async def restore(self, adapter: str) -> bool:
        """Return whether it has an adapter; one that another replica has had it forget is loaded again.

        Raises:
            DependencyUnavailable: the server does not answer.

        """
        files = self._adapters.get(adapter)
        if files and not await self.client().has_adapter(adapter):
            await self._again(adapter, files)
        return self.serves(adapter)

    async def remove(self, adapter: str) -> None:
        """Have it forget an adapter; idempotent."""
        if self._adapters.pop(adapter, None) is not None and self.up:
            with suppress(TidemillError):  # one that is started again does not know it
                await self.client().unload_adapter(adapter)
        if client := self._clients.pop(adapter, None):
            await client.close()

    async def _keep(self) -> None:
        """Run it until cancelled; that the first start fails is said to who waits for it."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                with isolated():
                    why = await self._incarnation()
            except Exception as error:  # whatever it is, nothing else would start the server again
                if not self._was_up:
                    raise
                why = error.message if isinstance(error, TidemillError) else type(error).__name__
            failures = 1 if time.monotonic() - began > _STEADY_S else failures + 1
            pause_s = _pause_s(failures)
            gauges.RESTARTS.labels(self.name).inc()
            _log.warning("vllm_ended", model=self.name, why=why, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _incarnation(self) -> str:
        """Run it once, and return why it ended."""
        began = time.monotonic()
        connected = await self._connected()
        try:
            await self._answers(connected)
            for adapter, files in list(self._adapters.items()):
                await self._again(adapter, files)
            self._was_up = True
            self.incarnation = await self._name_of_start()
            self._up.set()
            gauges.UP.labels(self.name).set(1)
            _log.info("vllm_started", model=self.name, duration_s=round(time.monotonic() - began, 1))
            return await self._watched(connected)
        finally:
            self._up.clear()
            gauges.UP.labels(self.name).set(0)
            clients, self._clients = list(self._clients.values()), {}
            await connected.end()
            for client in clients:
                await client.close()

    async def _again(self, adapter: str, files: Files) -> None:
        """Load an adapter that the server had before, or forget it: it keeps no other from being served."""
        try:
            with isolated():
                await self._client(self._base).load_adapter(adapter, str(await files()))
        except Exception as error:  # noqa: BLE001 - its next request loads it, or says why not
            self._adapters.pop(adapter, None)
            why = error.message if isinstance(error, TidemillError) else type(error).__name__
            _log.warning("vllm_adapter_forgotten", model=self.name, adapter=adapter, why=why)

    async def _connected(self) -> Running:
        await self._files()
        if self._served is None:
            return _Elsewhere()
        key = self._key.get_secret_value()
        self.process = await VllmProcess.start(self._options, self._served, key=key, log=self.log)
        self._url = f"http://127.0.0.1:{self.process.port}"
        return self.process

    async def _answers(self, connected: Running) -> None:
        """Return once it lists its models."""
        deadline = time.monotonic() + (self._options.start_s if self._served else _CONNECT_S)
        while True:
            if not connected.running:
                why = f"vLLM ended with exit status {await connected.wait()} while it loaded it: see {self.log}"
                raise ModelRefused(self.name, why=why)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    listed = [each.id for each in await self._client(self._base).models()]
            except (DependencyUnavailable, TimeoutError) as error:
                if time.monotonic() > deadline:
                    message = f"vLLM does not answer for model {self.name}: {self._url} was asked until it was too late"
                    raise DependencyUnavailable(message, dependency="vllm", blame=Blame.CAPACITY) from error
                await asyncio.sleep(_STARTING_POLL_S)
            else:
                if self._base in listed:
                    return
                there = ", ".join(listed)
                why = f"vLLM at {self._url} serves {there}: start it with --served-model-name {self._base}"
                raise ModelRefused(self.name, why=why)

    async def _name_of_start(self) -> str:
        """Return what names this start; of a server at an address, the same in every replica, where it says it."""
        began = ""
        if self._served is None:
            with suppress(DependencyUnavailable):
                began = await self._client(self._base).began()
        return f"{self._url} {began}" if began else secrets.token_hex(16)

    async def _watched(self, connected: Running) -> str:
        """Return why it has ended, or has to."""
        ended = asyncio.ensure_future(connected.wait())
        answered_at = time.monotonic()
        try:
            while True:
                await asyncio.wait({ended}, timeout=POLL_S)
                if ended.done():
                    return f"exit status {ended.result()}"
                if self._served is not None:
                    with suppress(OSError):  # a full disk does not end the model
                        await asyncio.to_thread(shorten, self.log, max_bytes=self._options.log_bytes)
                try:
                    async with asyncio.timeout(_SILENT_S / 2):
                        gauges.record(self.name, await self._client(self._base).gauges())
                except (DependencyUnavailable, TimeoutError):
                    if time.monotonic() - answered_at > (_SILENT_S if self._served else POLL_S):
                        return "it does not answer"
                else:
                    answered_at = time.monotonic()
        finally:
            ended.cancel()

    def _client(self, model: str) -> VllmClient:
        if model not in self._clients:
            origin = Origin.of(self._url)
            addresses = CheckedAddresses(
                allowed=AllowedHosts.of((f"{origin.host}:{origin.port}",)),
                resolve=system_resolver(),
                connect_s=_CONNECT_S,
            )
            self._clients[model] = VllmClient(
                RemoteModel(model=model, base_url=self._url),
                key=self._key,
                addresses=addresses,
                stall_s=self._options.stall_s,
            )
        return self._clients[model]


def _pause_s(failures: int) -> float:
    """Return how long to wait after so many in a row."""
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 10), _MAX_PAUSE_S))


class _Elsewhere:
    """A server that an operator runs; that it ends is known by its silence."""

    running = True

    async def wait(self) -> int:
        """See `Running.wait`."""
        await asyncio.get_running_loop().create_future()
        return 0

    async def end(self) -> None:
        """See `Running.end`."""
