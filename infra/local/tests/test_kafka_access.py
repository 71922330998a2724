"""Who may do what, asked of a real broker: every topic and every user of infra/kafka.

Tokens of OAUTHBEARER are checked by the validator that docs/guides/kafka.md names.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from joserfc.jwk import ECKey

from infra.local.tests.conftest import AUDIENCE, CLUSTER, ISSUER, Broker
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import Secret
from tidemill_kit.events.acls import Acl, read_table, users_of
from tidemill_kit.events.administration import AdministrationRefused, administrator
from tidemill_kit.events.connection import client_options
from tidemill_kit.events.consumer import ConsumerRunner
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Delivery, Subscription
from tidemill_local.acls import of_sources, written
from tidemill_local.kafka import ADMIN
from tidemill_local.places import ACLS
from tidemill_local.topics import Topic, declared

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

TOPICS = declared()
SERVICES = sorted({topic.owner for topic in TOPICS})
USERS = users_of(read_table(ACLS))
SOURCE_TOPIC = "tidemill.ingest.submission.v1.acme.kb"
OWN = OutgoingRecord(topic="tidemill.rag.index.v1", key=b"k", value=b"{}", headers=())
GROUP = Subscription(name="rag.things", topics=("tidemill.ingest.document.v1",), delivery=Delivery.ONCE, routes={})


def may_write(user: str, topic: Topic) -> bool:
    """Return what the declaration says, in words of its own."""
    if user == "tidemill-redrive":
        return topic.kind == "dead-letters" or (topic.kind != "state" and bool(topic.consumers))
    if topic.kind == "inbound":
        return user == f"tidemill-upstream-{topic.owner}"
    producers = topic.producers or (topic.owner,)
    return user in {f"tidemill-{each}" for each in (SERVICES if producers == "services" else producers)}


def may_read(user: str, topic: Topic) -> bool:
    consumers = SERVICES if topic.consumers == "services" else topic.consumers
    return user in {"tidemill-tools", "tidemill-redrive", *(f"tidemill-{each}" for each in consumers)}


DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)


async def taken(broker: Broker, user: str, topics: Iterable[str]) -> set[str]:
    """Return the topics for which the broker takes a record of the user."""
    producer = AIOKafkaProducer(**client_options(broker.servers(user)), acks="all", enable_idempotence=True)
    found = set[str]()
    try:
        await producer.start()  # refused already for a user who may write nothing
        for topic in topics:
            with suppress(*DENIED):
                await producer.send_and_wait(topic, b"{}", key=b"k", partition=0)
                found.add(topic)
    except DENIED:
        pass
    finally:
        await producer.stop()
    return found


async def given(broker: Broker, user: str, topics: Iterable[str]) -> set[str]:
    """Return the topics of which the broker gives the user a record that is there."""
    options = client_options(broker.servers(user))
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        shown = await consumer.topics()
        partitions = [TopicPartition(topic, 0) for topic in topics if topic in shown]
        consumer.assign(partitions)
        found = set[str]()
        for partition in partitions:
            with suppress(*DENIED):
                records = await consumer.getmany(partition, timeout_ms=30_000)
                assert records, f"the broker neither gives nor refuses {partition.topic}"
                found.add(partition.topic)
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize("user", USERS)
async def test_a_user_writes_and_reads_what_it_is_declared_to_and_nothing_else(user: str, broker: Broker) -> None:
    wrote = await taken(broker, user, [topic.name for topic in TOPICS])
    assert wrote == {topic.name for topic in TOPICS if may_write(user, topic)}

    read = await given(broker, user, [topic.name for topic in TOPICS])
    assert read == {topic.name for topic in TOPICS if may_read(user, topic)}


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.kind != "inbound"], ids=lambda each: each.name)
def test_an_internal_topic_takes_records_of_its_owner_and_of_operators_who_redrive(topic: Topic) -> None:
    writers = {each.principal for each in read_table(ACLS) if (each.operation, each.name) == ("WRITE", topic.name)}
    prefixes = [each for each in read_table(ACLS) if each.pattern == "prefixed" and topic.name.startswith(each.name)]
    producers = SERVICES if topic.producers == "services" else topic.producers or (topic.owner,)

    assert writers - {"User:tidemill-redrive"} == {f"User:tidemill-{each}" for each in producers}
    assert {each.operation for each in prefixes} <= {"READ"}


@pytest.mark.parametrize("user", USERS)
async def test_a_user_belongs_to_groups_of_its_own_service_only(user: str, broker: Broker) -> None:
    async def belongs(service: str) -> bool:
        options = client_options(broker.servers(user))
        consumer = AIOKafkaConsumer(**options, group_id=f"tidemill.{service}.things", enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([TopicPartition("tidemill.monitor.access.v1", 0)])
            await consumer.committed(TopicPartition("tidemill.monitor.access.v1", 0))
        except GroupAuthorizationFailedError:
            return False
        finally:
            await consumer.stop()
        return True

    services = [service for service in SERVICES if user in {f"tidemill-{service}", "tidemill-tools"}] or ["rag"]
    asked = {*services, "monitor", "ingest"}
    assert {each: await belongs(each) for each in asked} == {each: user == f"tidemill-{each}" for each in asked}


async def test_a_service_changes_neither_topics_nor_acls(broker: Broker) -> None:
    servers = broker.servers("tidemill-rag")
    client = AIOKafkaAdminClient(**client_options(servers))
    await client.start()
    try:
        created = await client.create_topics([NewTopic("tidemill.rag.other.v1", 1, 1)])
        deleted = await client.delete_topics(["tidemill.rag.index.v1"])
    finally:
        await client.close()
    assert [code for _, code, *_ in (*created.topic_errors, *deleted.topic_error_codes)] == [29, 29]
    async with administrator(servers) as admin:
        with pytest.raises(AdministrationRefused, match="does not let User:tidemill-rag list the ACLs"):
            await admin.acls()
        with pytest.raises(AdministrationRefused, match="create the user tidemill-admin"):
            await admin.put_users({ADMIN: "another"})


async def test_a_topic_of_one_source_takes_records_of_its_principal_alone(broker: Broker) -> None:
    user, stranger = "tidemill-source.acme.kb", "tidemill-source.acme.other"
    async with administrator(broker.servers(ADMIN)) as admin:
        await admin.put_users(broker.passwords.ensure([user, stranger]))
        await admin._client.create_topics([NewTopic(SOURCE_TOPIC, 1, 1)])  # noqa: SLF001 - a topic of this test
        await admin.apply(of_sources(TOPICS, [SOURCE_TOPIC]))  # a broker lists a topic a moment after it was created
    tried = [user, stranger, "tidemill-upstream-ingest", "tidemill-ingest", "tidemill-feedback"]

    assert [each for each in tried if await taken(broker, each, [SOURCE_TOPIC])] == [user]
    assert [record.value async for record in read_topic(broker.servers("tidemill-ingest"), SOURCE_TOPIC)] == [b"{}"]
    with pytest.raises(DependencyUnavailable, match="does not let User:tidemill-feedback"):
        _ = [record async for record in read_topic(broker.servers("tidemill-feedback"), SOURCE_TOPIC)]


async def test_what_is_refused_is_said_with_what_to_check(broker: Broker) -> None:
    rag = broker.servers("tidemill-rag")
    record = OutgoingRecord(topic="tidemill.trainer.run.v1", key=b"k", value=b"{}", headers=())
    publisher = Publisher(rag)
    with pytest.raises(DependencyUnavailable, match=r"does not let User:tidemill-rag do this .* `tidemill kafka acls"):
        await publisher.publish(record)
    await publisher.stop()

    for wrong in (replace(rag, password=Secret("wrong")), replace(rag, username="stranger")):
        for mechanism in ("SCRAM-SHA-512", "PLAIN"):
            with pytest.raises(DependencyUnavailable) as raised:
                await Publisher(replace(wrong, mechanism=mechanism)).start()
            assert raised.value.message == (
                f"Kafka refuses User:{wrong.username} by {mechanism}: check user and password"
            )
    with pytest.raises(DependencyUnavailable, match="check KAFKA_SASL_MECHANISM"):
        await Publisher(replace(rag, mechanism="SCRAM-SHA-256")).start()
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await Publisher(replace(rag, bootstrap="127.0.0.1:1")).start()


async def test_a_client_that_does_not_say_who_it_is_gets_nothing(broker: Broker) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.address, request_timeout_ms=3000)
    with pytest.raises(KafkaError):
        await consumer.start()
    await consumer.stop()


async def test_a_table_is_added_once_and_what_it_does_not_have_is_reported(broker: Broker) -> None:
    table = read_table(ACLS)
    assert (len(broker.granted.added), broker.granted.there) == (len(table), 0)
    stranger = Acl(principal="User:ada", operation="ALL", resource="topic", pattern="literal", name="tidemill.x.v1")
    denied = replace(stranger, principal="User:tidemill-x", name="other", permission="deny", host="10.0.0.7")
    elsewhere = replace(stranger, name="other")
    async with administrator(broker.servers(ADMIN)) as admin:
        planned = await admin.apply([*table, stranger], dry_run=True)
        assert (planned.added, stranger in await admin.acls()) == ([stranger], False)
        await admin.apply([stranger, denied, elsewhere])
        applied = await admin.apply(table)

    assert (applied.added, applied.there) == ([], len(table))
    assert {stranger, denied} <= set(applied.others)
    assert elsewhere not in applied.others


def test_a_cluster_id_may_begin_with_a_dash(broker: Broker) -> None:
    assert CLUSTER.startswith("-")
    assert f"cluster.id={CLUSTER}" in (broker.folder / "data" / "meta.properties").read_text()


def test_the_committed_table_is_that_of_the_topics() -> None:
    assert ACLS.read_text("utf-8") == written(TOPICS), "run `python -m tidemill_local.acls --write`"
    assert Counter(Acl.of(str(each)) == each for each in read_table(ACLS)) == {True: len(read_table(ACLS))}


async def test_the_subject_of_a_token_is_the_user_whom_acls_name(broker: Broker) -> None:
    servers = broker.token()
    publisher = Publisher(servers)
    await publisher.publish(OWN)
    with pytest.raises(DependencyUnavailable, match="does not let the token's subject do this"):
        await publisher.publish(replace(OWN, topic="tidemill.trainer.run.v1"))
    _ = [record async for record in read_topic(servers, "tidemill.ingest.document.v1")]
    member = ConsumerRunner(servers, Engine(GROUP, dead_letters=publisher))
    await member.start()
    await member.stop()
    await publisher.stop()


FOREIGN = ECKey.generate_key("P-256", {"kid": "one"})
REFUSED: dict[str, tuple[dict[str, object], ECKey | None]] = {
    "foreign key": ({}, FOREIGN),
    "foreign audience": ({"aud": "another"}, None),
    "foreign issuer": ({"iss": "https://another.example"}, None),
    "expired": ({"exp": int(time.time()) - 600}, None),
    "no subject": ({"sub": ""}, None),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_token_that_does_not_hold_is_refused(case: str, broker: Broker) -> None:
    changes, key = REFUSED[case]
    with pytest.raises(DependencyUnavailable) as raised:
        await Publisher(broker.token(key, **changes)).start()
    assert raised.value.message == (
        "Kafka refuses the token's subject by OAUTHBEARER: check the token, its issuer and audience"
    )


def unsigned() -> str:
    """Return a token that says all that a good one does, by the algorithm `none`."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tidemill-rag", "scope": "", "iat": now, "exp": now + 600}
    parts = ({"alg": "none"}, claims)
    return ".".join(urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


@pytest.mark.parametrize("text", ["none", "a.b.c", unsigned()], ids=["none", "no token", "unsigned"])
async def test_what_is_no_signed_token_is_refused(text: str, broker: Broker) -> None:
    with pytest.raises(DependencyUnavailable, match="check the token"):
        await Publisher(replace(broker.token(), token=Secret(text))).start()
