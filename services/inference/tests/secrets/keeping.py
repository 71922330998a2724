"""The secrets of projects, behind a real gRPC server, on a store in memory."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.inference.tests.openai_api.apis import settings
from tidemill.inference.v1 import secret_pb2
from tidemill.inference.v1 import secret_service_pb2 as pb
from tidemill.inference.v1.secret_service_pb2_grpc import SecretServiceStub, add_SecretServiceServicer_to_server
from tidemill_core.origins import Origin
from tidemill_inference.secrets.crud import SecretCrud
from tidemill_inference.secrets.domain.errors import SecretNotFound
from tidemill_inference.secrets.domain.secret import HostRules, Secret
from tidemill_inference.secrets.grpc import GrpcSecretService
from tidemill_inference.secrets.lookup import ProjectKeys
from tidemill_inference.secrets.mongo import SECRETS
from tidemill_inference.secrets.operator import OperatorSecrets
from tidemill_kit.store.envelope import Keyring
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stores import InMemoryAggregates

OLD_KEY, NEW_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
CANARY = "sk-CANARY-of-acme"
API = "https://api.openai.com"
SETTING = "INFERENCE_SECRETS_ALLOWED_HOSTS"


class Keeping:
    """What inference keeps secrets with; `keys` are the operator's, "" none."""

    def __init__(
        self, *, keys: str = OLD_KEY, allowed: Sequence[str] = ("api.openai.com", "127.0.0.1:8000"), **operator: str
    ) -> None:
        self.store: InMemoryAggregates[Secret] = InMemoryAggregates(codec=SECRETS, missing=SecretNotFound)
        self.audit = RecordedCalls()
        self.operators = OperatorSecrets(operator, None)
        self.restart(keys, allowed=allowed)

    def restart(self, keys: str, *, allowed: Sequence[str] = ("api.openai.com",)) -> None:
        """Go on with other settings on the same store."""
        self.seals = Keyring.of(keys) if keys else None
        self.rules = HostRules.of(allowed)
        self.crud = SecretCrud(secrets=self.store, seals=self.seals, rules=self.rules, setting=SETTING)
        self.keys = ProjectKeys(operators=self.operators, secrets=self.store, seals=self.seals, rules=self.rules)

    async def key_for(self, project: str = "acme", name: str = "KEY", *, address: str = API) -> str:
        return (await self.keys.key_for(project, name, origin=Origin.of(address))).get_secret_value()

    @asynccontextmanager
    async def served(self) -> AsyncIterator["Clients"]:
        service = GrpcSecretService(self.store, self.crud, self.operators)
        server = DirectServer(
            settings(), [(add_SecretServiceServicer_to_server, service)], access=access_of(), audit=self.audit
        )
        await server.start()
        await server.set_ready(True)
        address = f"127.0.0.1:{server.port}"
        try:
            async with (
                admin_channel(address, project="acme") as acme,
                admin_channel(address, project="globex") as globex,
            ):
                yield Clients(acme=SecretServiceStub(acme), globex=SecretServiceStub(globex))
        finally:
            await server.stop(1.0)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Clients of two projects."""

    acme: SecretServiceStub
    globex: SecretServiceStub


def setting(
    value: str = CANARY, *, name: str = "KEY", hosts: Sequence[str] = (API,), **fields: object
) -> pb.SetSecretRequest:
    secret = secret_pb2.Secret(id=name, hosts=hosts, etag=str(fields.pop("etag", "")))
    return pb.SetSecretRequest(secret=secret, value=value, **fields)  # type: ignore[arg-type]
