"""The topics that infra/kafka/topics.yaml declares, and how they come to be on a broker.

`python topics.py --bootstrap kafka:9092 --copies 1` creates what is missing; with `--passwords FOLDER` users and ACLs
too. docker compose runs this file by its path inside the image of a service, so it imports nothing of this package.
"""

import argparse
import asyncio
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code
from pydantic import BaseModel
from pydantic_settings import SettingsConfigDict

from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.acls import read_table, users_of
from tidemill_kit.events.administration import Applied, administrator
from tidemill_kit.events.connection import client_options
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_kit.runtime.transport_security import TransportSettings

TOPICS = Path(__file__).resolve().parents[3] / "kafka" / "topics.yaml"
ACLS = TOPICS.with_name("acls.txt")
SECONDS = {"h": 3600, "d": 86400}
ALREADY_EXISTS = 36
REQUEST_TIMEOUT_MS = 15_000


class TopicRefused(Exception):
    """A topic is declared wrongly, or the broker did not take it."""


class Production(BaseModel, extra="forbid", frozen=True):
    """How many copies a topic has where there is more than one machine."""

    replication: int
    min_insync_replicas: int


class Topic(BaseModel, extra="forbid", frozen=True):
    """One declared topic; `retention` is a number of hours or days ("36h", "7d")."""

    name: str
    owner: str
    producers: tuple[str, ...] | Literal["services"] | None = None
    consumers: tuple[str, ...] | Literal["services"] = ()
    kind: Literal["events", "inbound", "dead-letters", "state"]
    key: str
    partitions: int
    retention: str
    max_bytes: int
    production: Production

    @property
    def retention_ms(self) -> int:
        """The retention in milliseconds."""
        match = re.fullmatch(r"(\d+)([hd])", self.retention)
        if match is None:
            message = f'Topic {self.name} has retention "{self.retention}": write hours or days, for example 36h or 7d.'
            raise TopicRefused(message)
        return int(match[1]) * SECONDS[match[2]] * 1000

    def written_by(self, services: Sequence[str]) -> Sequence[str]:
        """Return the services that write it, of all `services`."""
        if self.producers is None:
            return () if self.kind == "inbound" else (self.owner,)
        return services if self.producers == "services" else self.producers

    def read_by(self, services: Sequence[str]) -> Sequence[str]:
        """Return the services that read it, of all `services`."""
        return services if self.consumers == "services" else self.consumers

    def to_create(self, *, copies: int | None = None) -> NewTopic:
        """Return the request that creates it, with the production's copies unless another number is given."""
        replication = copies or self.production.replication
        kept = (
            {"cleanup.policy": "compact", "delete.retention.ms": str(self.retention_ms)}
            if self.kind == "state"
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        )
        return NewTopic(
            self.name,
            num_partitions=self.partitions,
            replication_factor=replication,
            topic_configs={
                **kept,
                "max.message.bytes": str(self.max_bytes),
                "min.insync.replicas": str(min(replication, self.production.min_insync_replicas)),
            },
        )


def declared(path: Path = TOPICS) -> list[Topic]:
    """Return every declared topic."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Topic.model_validate({**document["defaults"], **topic}) for topic in document["topics"]]


async def create(servers: KafkaServers | str, topics: Sequence[Topic], *, copies: int | None = None) -> list[str]:
    """Create the topics that are missing and return their names; what exists is left as it is.

    Raises:
        TopicRefused: the broker refused one.
    """
    options = client_options(KafkaServers.of(servers))
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        missing = [topic for topic in topics if topic.name not in set(await admin.list_topics())]
        if not missing:
            return []
        reply = await admin.create_topics([topic.to_create(copies=copies) for topic in missing])
    finally:
        await admin.close()
    # The client does not raise for a refused topic: the reply has the error.
    for name, code, *_ in reply.topic_errors:
        if code not in (0, ALREADY_EXISTS):
            message = f"Kafka refused topic {name}: {for_code(code).__name__}."
            raise TopicRefused(message)
    return [topic.name for topic in missing]


async def grant(servers: KafkaServers, passwords: PasswordFiles, *, others: Collection[str] = ()) -> Applied:
    """Create the users of acls.txt, and others, with the passwords in their files, and add what each of them may do."""
    table = read_table(ACLS)
    async with administrator(servers) as admin:
        await admin.put_users(passwords.ensure([*users_of(table), *others]))
        return await admin.apply(table)


class Connecting(TransportSettings):
    """How the command speaks to Kafka: TIDEMILL_KAFKA_USERNAME and so on, as all commands."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_", frozen=True, extra="ignore")


def main() -> None:
    """Create the declared topics on a broker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--copies", type=int, help="instead of those that topics.yaml names for production")
    parser.add_argument("--passwords", type=Path, help="also create users and ACLs; the folder of their passwords")
    arguments = parser.parse_args()
    servers = Connecting().kafka_servers(arguments.bootstrap)
    created = asyncio.run(create(servers, declared(), copies=arguments.copies))
    print(f"{len(created)} topics created.")  # noqa: T201 - a command's answer
    if arguments.passwords:
        granted = asyncio.run(grant(servers, PasswordFiles(arguments.passwords), others=["tidemill-admin"]))
        print(f"{len(granted.added)} ACLs added, {granted.there} were there.")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
