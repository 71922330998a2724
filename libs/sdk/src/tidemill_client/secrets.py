"""The secrets of a project's remote models: set, listed, deleted, and never read."""

from collections.abc import AsyncIterator, Mapping, Sequence

from tidemill.inference.v1 import secret_service_pb2 as pb
from tidemill.inference.v1.secret_pb2 import Secret
from tidemill_client.connection import Connection
from tidemill_client.pages import each


class Secrets:
    """The keys that a project's remote models are called with, each for its hosts only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set(
        self, name: str, value: str, *, hosts: Sequence[str], labels: Mapping[str, str] | None = None, etag: str = ""
    ) -> Secret:
        """Set a secret, new or again; the next request is made with it.

        Raises:
            InvalidInput: a host is one that the operator does not allow, or name or value can be none.

        """
        secret = Secret(id=name, hosts=hosts, labels=labels, etag=etag)
        return (await self._connection.secrets.SetSecret(pb.SetSecretRequest(secret=secret, value=value))).secret

    def all(self) -> AsyncIterator[Secret]:
        """Yield the secrets without their values, oldest first."""
        return each(self._connection.secrets.ListSecrets, pb.ListSecretsRequest(), lambda page: page.secrets)

    async def delete(self, name: str, *, etag: str = "") -> Secret:
        """Delete a secret and its value."""
        return (await self._connection.secrets.DeleteSecret(pb.DeleteSecretRequest(id=name, etag=etag))).secret
