"""What the principal of one project's source may do at the broker of a running stack."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAuthorizationFailedError

from tests.system.running import Platform
from tidemill_core.transport_security import KafkaServers, Secret
from tidemill_kit.events.administration import administrator
from tidemill_kit.events.connection import client_options
from tidemill_local.acls import of_sources
from tidemill_local.addresses import Addresses
from tidemill_local.kafka import ADMIN
from tidemill_local.topics import declared

SUBMISSIONS = "tidemill.ingest.submission.v1"
SOURCE = "stranger-example-kb"
"""As topics and principals name `https://stranger.example/kb`."""
_PATIENCE_S = 10.0


def _administrators(platform: Platform) -> KafkaServers:
    return Addresses.read(platform.folder / "stack.json").kafka_servers(ADMIN)


async def source_of(platform: Platform) -> tuple[KafkaServers, str]:
    """Give a project a topic for one source and its principal, as an operator does; return how that connects."""
    servers, source = _administrators(platform), f"{platform.project}.{SOURCE}"
    user, topic, password = f"tidemill-source.{source}", f"{SUBMISSIONS}.{source}", f"secret-{source}"
    async with administrator(servers) as admin:
        await admin.put_users({user: password})
        await admin._client.create_topics([NewTopic(topic, 1, 1)])  # noqa: SLF001 - a topic of this test
        await admin.apply(of_sources(declared(), [topic]))
    return replace(servers, username=user, password=Secret(password)), topic


async def topics_of(platform: Platform) -> list[str]:
    """Return the names of all topics of the broker, those of other projects' sources too."""
    async with administrator(_administrators(platform)) as admin:
        return sorted(name for name in await admin.topics() if not name.startswith("__"))


async def written(servers: KafkaServers, topics: Sequence[str]) -> list[str]:
    """Return those of the topics that take a record of a principal."""
    taken = []
    async with AIOKafkaProducer(**client_options(servers), acks="all", enable_idempotence=True) as producer:
        for topic in topics:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await producer.send_and_wait(topic, b"{}", key=b"k", partition=0)
            except TopicAuthorizationFailedError:
                continue
            taken.append(topic)
    return taken


async def read_by(servers: KafkaServers, topics: Sequence[str]) -> list[str]:
    """Return those of the topics that a principal may read, be it that there is nothing."""
    given = []
    for topic in topics:
        consumer = AIOKafkaConsumer(topic, **client_options(servers), enable_auto_commit=False)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await consumer.start()
                await consumer.getone()
        except TopicAuthorizationFailedError:
            continue
        except TimeoutError:
            pass  # it was not refused
        finally:
            await consumer.stop()
        given.append(topic)
    return given
