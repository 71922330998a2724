"""A Kafka node whose users have to say who they are, as the stack has it, and that takes tokens besides."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from joserfc import jwt
from joserfc.jwk import ECKey

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import KafkaServers, Secret
from tidemill_kit.events.administration import Applied, administrator
from tidemill_kit.events.connection import client_options
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_local import jars, topics
from tidemill_local.kafka import ADMIN, BROKER, KafkaNode
from tidemill_local.places import JARS

ISSUER, AUDIENCE = "https://id.example", "kafka"
CLUSTER = "-KtH3T0mQnyDLxSfHk9ZLw"
_BEARER = "org.apache.kafka.common.security.oauthbearer"
_START_S = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A running node."""

    address: str
    passwords: PasswordFiles
    folder: Path
    key: ECKey
    granted: Applied
    """What the first start added."""

    def servers(self, user: str) -> KafkaServers:
        """Return Kafka as a user speaks to it."""
        secret = Secret(file=self.passwords.file(user))
        return KafkaServers(bootstrap=self.address, protocol="SASL_PLAINTEXT", username=user, password=secret)

    def token(self, key: ECKey | None = None, **changes: object) -> KafkaServers:
        """Return Kafka as the holder of a token speaks to it."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tidemill-rag", "iat": now, "exp": now + 600} | changes
        signer = key or self.key
        text = jwt.encode({"alg": "ES256", "kid": "one"}, claims, signer, algorithms=["ES256"])
        file = self.folder / "token"
        file.write_text(text)
        return replace(self.servers(""), mechanism="OAUTHBEARER", token=Secret(file=file))


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@pytest.fixture(scope="module")
def broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Give a node with the topics, the users and the ACLs of the stack."""
    if pytestconfig.getoption("quick", default=False):
        pytest.skip("needs servers")
    folder = tmp_path_factory.mktemp("broker")
    key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    node = node_in(folder, passwords=True)
    with running(node, folder, keys=keys):
        yield asyncio.run(_ready(node, folder, key))


def node_in(folder: Path, *, passwords: bool) -> KafkaNode:
    """Return a node that keeps its data in a folder."""
    jars.ensure(JARS)
    client, controller = free_ports(2)
    return KafkaNode(
        jars=JARS,
        data=folder / "data",
        settings=folder / "kafka.properties",
        cluster=CLUSTER,
        broker_port=client,
        controller_port=controller,
        passwords=PasswordFiles(folder / "passwords") if passwords else None,
    )


@contextmanager
def running(node: KafkaNode, folder: Path, *, keys: Path | None = None) -> Iterator[None]:
    """Run a node, which takes tokens by these keys besides."""
    node.prepare()
    java, *options = node.command()
    if keys is not None:
        with node.settings.open("a", encoding="utf-8") as settings:
            settings.write("".join(f"{name}={value}\n" for name, value in _takes_tokens(keys).items()))
        options = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys.as_uri()}", *options]
    with (folder / "log").open("ab") as log, subprocess.Popen([java, *options], stdout=log, stderr=log) as process:  # noqa: S603 - our own command
        try:
            yield
        finally:
            process.kill()


def as_broker(node: KafkaNode) -> KafkaServers:
    """Return Kafka as the node's own user speaks to it."""
    address = f"127.0.0.1:{node.broker_port}"
    if node.passwords is None:
        return KafkaServers(bootstrap=address)
    secret = Secret(file=node.passwords.file(BROKER))
    return KafkaServers(
        bootstrap=address, protocol="SASL_PLAINTEXT", mechanism="PLAIN", username=BROKER, password=secret
    )


async def answers(servers: KafkaServers) -> None:
    """Return when a node that was just started answers."""
    async with asyncio.timeout(_START_S):
        while True:
            with suppress(DependencyUnavailable):
                async with administrator(servers):
                    return
            await asyncio.sleep(0.3)


def _takes_tokens(keys: Path) -> dict[str, object]:
    """Return the settings by which the clients' listener takes tokens, as docs/guides/kafka.md has them."""
    listener = "listener.name.clients"
    return {
        f"{listener}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        f"{listener}.oauthbearer.sasl.jaas.config": f"{_BEARER}.OAuthBearerLoginModule required;",
        f"{listener}.oauthbearer.sasl.server.callback.handler.class": f"{_BEARER}.OAuthBearerValidatorCallbackHandler",
        "sasl.oauthbearer.jwt.validator.class": f"{_BEARER}.BrokerJwtValidator",
        "sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
    }


async def _ready(node: KafkaNode, folder: Path, key: ECKey) -> Broker:
    assert node.passwords
    own = as_broker(node)
    await answers(own)
    granted = await topics.grant(own, node.passwords, others=[ADMIN])
    await topics.create(own, topics.declared(), copies=1)
    async with AIOKafkaProducer(**client_options(own)) as producer:
        for topic in topics.declared():
            await producer.send_and_wait(topic.name, b"{}", key=b"k", partition=0)  # something to read in each
    return Broker(address=own.bootstrap, passwords=node.passwords, folder=folder, key=key, granted=granted)
