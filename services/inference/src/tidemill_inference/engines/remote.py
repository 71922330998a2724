"""Remote models: a client for each address and key, the one not used for longest let go."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from tidemill_core.errors import TidemillError, isolated
from tidemill_core.origins import AllowedHosts, Origin
from tidemill_inference.engines.ports import RemoteModel
from tidemill_inference.errors import AddressRefused
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_kit.outgoing.addresses import CheckedAddresses
from tidemill_kit.outgoing.client import authorities
from tidemill_kit.outgoing.resolver import Resolver, SystemResolver

if TYPE_CHECKING:
    from tidemill_inference.engines.openai import OpenAiEngine

_CLIENT_LIBRARY = "tidemill_inference.engines.openai"
_Key = tuple[str, RemoteModel, str]
"""Project, model and the digest of the key that is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """`stall_s` is the timeout without data, `max_clients` how many unused addresses stay connected."""

    allowed: AllowedHosts = field(default_factory=AllowedHosts)
    stall_s: float = 20.0
    max_clients: int = 64


class Keys(Protocol):
    """The keys that remote models are called with."""

    async def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr:
        """Return a project's secret for a host.

        Raises:
            SecretMissing: the project has none of this name for this host.

        """
        ...


@dataclass(slots=True, eq=False)
class _Client:
    engine: "OpenAiEngine"
    users: int = 0
    superseded: bool = False
    """Its key counts no more: it is closed as soon as no request uses it."""


class RemoteEngines:
    """Looks a model's key up for each use: another one is another client, and that of the key before is let go."""

    def __init__(self, keys: Keys, options: RemoteOptions, *, resolve: Resolver | None = None) -> None:
        self._keys = keys
        self._options = options
        self._system = SystemResolver()
        self._resolve = resolve or self._system
        self._clients: OrderedDict[_Key, _Client] = OrderedDict()

    async def check(self, project: str, model: RemoteModel) -> None:
        """Refuse a model whose address may not be called, or whose key is not there.

        Raises:
            AddressRefused: the address is no address, or one without TLS that the operator did not allow.
            SecretMissing: the project has no such secret for this host.

        """
        await self._key(project, model)

    @asynccontextmanager
    async def use(self, project: str, model: RemoteModel) -> AsyncIterator["OpenAiEngine"]:
        """Keep a client for the length of a block.

        Raises:
            As `check`.

        """
        try:
            origin, secret = await self._key(project, model)
        except SecretMissing:
            await self._supersede(project, model)
            raise
        digest = _digest(secret) if secret else ""
        key = (project, model, digest)
        if key not in self._clients:  # the first one takes a second of imports
            await asyncio.to_thread(import_module, _CLIENT_LIBRARY)
            await asyncio.to_thread(authorities)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _Client(self._made(project, model, origin, secret))
        client.users += 1
        try:
            self._clients.move_to_end(key)
            await self._supersede(project, model, by=digest)
            await self._let_go()
            yield client.engine
        finally:
            client.users -= 1
            if client.superseded and not client.users:
                await client.engine.close()

    @property
    def projects(self) -> set[str]:
        """The projects that have connections, in use or not."""
        return {project for project, _, _ in self._clients}

    async def forget(self, project: str) -> int:
        """Let the clients of a project go, those in use at the end of their requests; return how many."""
        return await self._removed([key for key in self._clients if key[0] == project])

    async def recheck(self) -> None:
        """Let the unused clients go whose key was deleted, or is another one now."""
        for key in [each for each, client in self._clients.items() if each[2] and not client.users]:
            project, model, digest = key
            try:
                with isolated():
                    _, secret = await self._key(project, model)
            except SecretMissing:
                secret = None
            except TidemillError:
                continue  # known as soon as the store answers
            if (_digest(secret) if secret else "") != digest:
                await self._removed([key])

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), OrderedDict()
        for client in clients:
            await client.engine.close()
        self._system.close()

    async def _key(self, project: str, model: RemoteModel) -> tuple[Origin, SecretStr | None]:
        try:
            origin = Origin.of(model.base_url)
        except ValueError as error:
            raise AddressRefused(model.model, why=f"its base_url {error}") from error
        if origin.scheme != "https" and not self._options.allowed.allow(origin):
            why = f"{origin} is without TLS: use https, or have the operator name the host in INFERENCE_REMOTE_HOSTS"
            raise AddressRefused(model.model, why=why)
        return origin, await self._keys.key_for(project, model.secret, origin=origin) if model.secret else None

    def _made(self, project: str, model: RemoteModel, origin: Origin, secret: SecretStr | None) -> "OpenAiEngine":
        from tidemill_inference.engines.openai import OpenAiEngine  # noqa: PLC0415 - see `use`

        options = self._options
        addresses = CheckedAddresses(
            project=project,
            allowed=options.allowed,
            resolve=self._resolve,
            connect_s=min(options.stall_s, 10.0),
        )
        return OpenAiEngine(
            model,
            key=secret,
            addresses=addresses,
            stall_s=options.stall_s,
            frank=options.allowed.allow(origin),
        )

    async def _supersede(self, project: str, model: RemoteModel, *, by: str | None = None) -> None:
        """Let the clients with other keys of the model go; those in use at the end of their requests."""
        await self._removed([each for each in self._clients if each[:2] == (project, model) and each[2] != by])

    async def _removed(self, keys: Sequence[_Key]) -> int:
        """Let clients go; those in use at the end of their requests."""
        removed = [client for key in keys if (client := self._clients.pop(key, None))]
        for client in removed:
            client.superseded = True
            if not client.users:
                await client.engine.close()
        return len(removed)

    async def _let_go(self) -> None:
        """Close what was not used for longest and is not in use, beyond what may stay."""
        surplus = len(self._clients) - self._options.max_clients
        idle = [key for key, client in self._clients.items() if client.users == 0][: max(surplus, 0)]
        for client in [self._clients.pop(key) for key in idle]:
            await client.engine.close()


def _digest(secret: SecretStr) -> str:
    return hashlib.sha256(secret.get_secret_value().encode()).hexdigest()
