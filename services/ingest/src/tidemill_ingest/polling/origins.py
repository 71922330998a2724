"""Opens what sources are polled from: each with its secret, by connections to addresses that were checked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill_core.origins import AllowedHosts, Origin
from tidemill_ingest.errors import OriginFailed
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling.domain.origin import GitOrigin, Polling, S3Origin
from tidemill_ingest.polling.git import Processes, checked_out
from tidemill_ingest.polling.ports import OpenOrigin
from tidemill_ingest.polling.s3 import S3Bucket
from tidemill_kit.outgoing.addresses import CheckedAddresses
from tidemill_kit.outgoing.client import outgoing_client
from tidemill_kit.outgoing.resolver import system_resolver
from tidemill_kit.runtime.operator_secrets import OperatorSecrets

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOrigins:
    """Implements `ports.Origins`."""

    secrets: OperatorSecrets
    allowed: AllowedHosts
    limits: OriginLimits
    processes: Processes
    """What repositories are fetched by."""
    folder: Path
    """Where repositories are while they are polled."""

    @asynccontextmanager
    async def open(self, project: str, polling: Polling) -> AsyncIterator[OpenOrigin]:
        """See `Origins.open`."""
        if polling.s3 is not None:
            async with self._bucket(project, polling, polling.s3) as bucket:
                yield bucket
        elif polling.git is not None:
            async with self._repository(project, polling, polling.git) as repository:
                yield repository
        else:
            text = "the source declares no origin that this version polls"
            raise OriginFailed(reason="ORIGIN_NOT_SUPPORTED", message=text)

    @asynccontextmanager
    async def _repository(self, project: str, polling: Polling, origin: GitOrigin) -> AsyncIterator[OpenOrigin]:
        checked = CheckedAddresses(
            allowed=self.allowed, resolve=system_resolver(), connect_s=_CONNECT_S, project=project
        )
        async with checked_out(
            project,
            polling,
            origin,
            password=await self._secret(project, origin.secret, Origin.of(origin.url)),
            addresses=checked,
            processes=self.processes,
            folder=self.folder,
            limits=self.limits,
        ) as repository:
            yield repository

    @asynccontextmanager
    async def _bucket(self, project: str, polling: Polling, origin: S3Origin) -> AsyncIterator[OpenOrigin]:
        secret = await self._secret(project, origin.secret, Origin.of(origin.endpoint))
        async with outgoing_client(allowed=self.allowed, timeout_s=self.limits.timeout_s, project=project) as client:
            yield S3Bucket(client=client, origin=origin, polling=polling, secret=secret, limits=self.limits)

    async def _secret(self, project: str, name: str, origin: Origin) -> str:
        """Return a secret for a host, "" where none is named."""
        if not name:
            return ""
        found = await self.secrets.find(project, name)
        if found is not None and origin in found.origins and (origin.scheme == "https" or self.allowed.allow(origin)):
            return found.value.get_secret_value()
        variable = self.secrets.variable(project, name)
        by_variable = f"{variable} and {variable}__HOSTS, or " if variable else ""
        text = (
            f"project {project} has no secret {name} that may be sent to {origin}: have the operator set {by_variable}"
            f"the files {name} and {name}.hosts in the folder {project} of INGEST_SECRETS_DIR"
        )
        raise OriginFailed(reason="SECRET_MISSING", message=text)
