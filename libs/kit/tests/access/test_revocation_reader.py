"""Revocations on a real broker: read whole at the start, followed then, also through an outage."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from libs.kit.tests.access.support import revocation
from libs.kit.tests.grpc.support import Lines
from libs.kit.tests.wire import wire_to
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.access import holds as legal_holds
from tidemill_kit.access import retention as retentions
from tidemill_kit.access import revocation_reader
from tidemill_kit.access.errors import CredentialRevoked, KeysUnavailable
from tidemill_kit.access.holds import Hold, Holds, Scope
from tidemill_kit.access.retention import Retention, RetentionKind
from tidemill_kit.access.revocation_reader import RevocationReader
from tidemill_kit.access.revocations import TOPIC, Revocations
from tidemill_kit.events import kafka
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.events.records import OutgoingRecord
from tidemill_local.addresses import Addresses
from tidemill_testkit.access import TestIssuer
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import NewTopicFactory

WITHIN_S = 5.0
COMPACTED = {"cleanup.policy": "compact"}
PARTITION = TopicPartition(TOPIC, 0)


@pytest.fixture
async def publisher(stack: Addresses) -> AsyncIterator[Publisher]:
    publisher = Publisher(stack.kafka)
    await publisher.start()
    yield publisher
    await publisher.stop()


async def revoke(publisher: Publisher, topic: str, identifier: str, *, value: bytes | None = None) -> None:
    written = revocation("KEY", "acme", identifier) if value is None else value
    await publisher.publish(OutgoingRecord(topic=topic, key=identifier.encode(), value=written, headers=()))


def is_revoked(revocations: Revocations, issuer: TestIssuer, identifier: str) -> bool:
    try:
        revocations.check(issuer.claims("acme", id=identifier))
    except CredentialRevoked:
        return True
    return False


@asynccontextmanager
async def reading(servers: str, topic: str) -> AsyncIterator[Revocations]:
    revocations = Revocations()
    reader = RevocationReader(servers, revocations, topic=topic)
    await reader.start()
    try:
        yield revocations
    finally:
        await reader.stop()


async def test_what_the_topic_holds_is_known_when_the_reader_has_started(
    stack: Addresses, new_topic: NewTopicFactory, publisher: Publisher, tmp_path: Path
) -> None:
    topic, issuer = await new_topic(partitions=2, configs=COMPACTED), TestIssuer(tmp_path)
    for number in range(20):
        await revoke(publisher, topic, f"key-{number}")
    await revoke(publisher, topic, "broken", value=b"nothing")

    async with reading(stack.kafka, topic) as revocations:
        assert [is_revoked(revocations, issuer, f"key-{number}") for number in range(21)] == [True] * 20 + [False]


async def test_legal_holds_and_retention_are_read_from_the_same_topic(
    stack: Addresses, new_topic: NewTopicFactory, publisher: Publisher
) -> None:
    topic, revocations, retention = await new_topic(configs=COMPACTED), Revocations(), Retention()
    holds = Holds(revocations)
    for ce_type, key, value in (
        (legal_holds.CHANGED, b"hold/acme/h", b'{"id": "h", "project": "acme", "seq": "1"}'),
        (legal_holds.CHANGED, b"hold/globex/of-a-newer-release", b"nothing that can be read"),
        (retentions.CHANGED, b"r", b'{"project": "acme", "kind": "RETENTION_KIND_ANSWERS", "days": 7, "seq": "1"}'),
    ):
        headers = (("ce_type", ce_type.encode()),)
        await publisher.publish(OutgoingRecord(topic=topic, key=key, value=value, headers=headers))
    reader = RevocationReader(stack.kafka, revocations, holds=holds, retention=retention, topic=topic)
    await reader.start()
    await reader.stop()

    assert holds.current
    assert holds.covers("acme", Scope.PROJECT) == Hold(id="h", project="acme")
    assert holds.covers("globex", Scope.PROJECT) == Hold(id="of-a-newer-release", project="globex")
    assert retention.of("acme", RetentionKind.ANSWERS) == timedelta(days=7)


async def test_an_empty_topic_is_read_at_once_and_a_revocation_counts_within_five_seconds(
    stack: Addresses, new_topic: NewTopicFactory, publisher: Publisher, tmp_path: Path
) -> None:
    topic, issuer = await new_topic(configs=COMPACTED), TestIssuer(tmp_path)
    async with reading(stack.kafka, topic) as first, reading(stack.kafka, topic) as second:
        await revoke(publisher, topic, "the-key")
        begun = time.monotonic()
        while not all(is_revoked(each, issuer, "the-key") for each in (first, second)):
            assert time.monotonic() - begun < WITHIN_S
            await asyncio.sleep(0.02)


async def test_nothing_is_believed_while_the_topic_cannot_be_read(stack: Addresses, tmp_path: Path) -> None:
    revocations = Revocations()
    reader = RevocationReader("127.0.0.1:1", revocations, start_s=0.5)
    with pytest.raises(DependencyUnavailable):
        await reader.start()
    with pytest.raises(KeysUnavailable):
        revocations.check(TestIssuer(tmp_path).claims())
    await reader.stop()
    missing = RevocationReader(stack.kafka, revocations, topic="test.not-there", start_s=0.5)
    with pytest.raises(DependencyUnavailable):
        await missing.start()
    await missing.stop()
    assert not revocations.complete


async def test_an_outage_is_logged_once(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    async def follow(*_: object) -> AsyncIterator[None]:
        tried.append(True)
        if len(tried) == 3:
            yield None
        message = "Kafka does not answer"
        raise DependencyUnavailable(message, dependency="kafka")

    async def tried_often() -> bool:
        return len(tried) > 5

    tried: list[bool] = []
    monkeypatch.setattr(revocation_reader, "follow_topic", follow)
    monkeypatch.setattr(revocation_reader, "_RETRY_S", 0.001)
    reader = RevocationReader("kafka.test:1", Revocations())
    await reader.start()
    await eventually(tried_often)
    await reader.stop()

    assert len(lines.named("access_revocations_interrupted")) == 2, "before and after the topic was read"


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), RuntimeError("unexpected error in a fetch")])
async def test_what_the_client_fails_by_ends_neither_the_reading_nor_the_service(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    async def follow(*_: object) -> AsyncIterator[None]:
        tried.append(True)
        yield None
        if len(tried) < 3:
            raise failure
        await asyncio.Event().wait()

    async def read_again() -> bool:
        return len(tried) == 3

    tried: list[bool] = []
    monkeypatch.setattr(revocation_reader, "follow_topic", follow)
    monkeypatch.setattr(revocation_reader, "_RETRY_S", 0.001)
    reader = RevocationReader("kafka.test:1", Revocations())
    await reader.start()
    await eventually(read_again)

    assert (await asyncio.wait({asyncio.create_task(reader.wait())}, timeout=0.01))[0] == set()
    await reader.stop()


async def test_the_end_of_the_hold_time_is_logged_once_and_ends_when_kafka_answers(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(*_: object) -> AsyncIterator[None]:
        tried.append(True)
        if len(tried) in (1, 5):
            yield None
            moved.append(100.0)
        message = "Kafka does not answer"
        raise DependencyUnavailable(message, dependency="kafka")

    async def tried_often() -> bool:
        return len(tried) > 8

    tried, moved = list[bool](), [0.0]
    monkeypatch.setattr(revocation_reader, "follow_topic", follow)
    monkeypatch.setattr(revocation_reader, "_RETRY_S", 0.001)
    reader = RevocationReader("kafka.test:1", Revocations(hold_s=60, monotonic=lambda: sum(moved)))
    await reader.start()
    await eventually(tried_often)
    await reader.stop()

    assert len(lines.named("access_revocations_too_old")) == 2, "for each outage"


class SilentConsumer:
    """In place of aiokafka's: once the broker is gone, it reports nothing of it, as that."""

    gone = False

    def __init__(self, *_: object, **_options: object) -> None:
        self.stopped = False
        self._fetcher = SimpleNamespace()

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {PARTITION: 0}

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        if self.gone:
            await asyncio.Event().wait()
        return {PARTITION: 0}

    def pause(self, *_: object) -> None: ...

    def seek(self, *_: object) -> None: ...

    async def position(self, _: object) -> int:
        return 0

    async def getmany(self, **_: object) -> dict[TopicPartition, list[object]]:
        await asyncio.sleep(0.001)
        return {}


async def test_a_broker_that_is_gone_is_noticed_though_its_client_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def followed() -> None:
        async for record in kafka.follow_topic("kafka.test:1", TOPIC):
            answers.append(record)

    answers = list[object]()
    monkeypatch.setattr(kafka, "AIOKafkaConsumer", SilentConsumer)
    monkeypatch.setattr(kafka, "_CONTACT_S", 0.01)
    monkeypatch.setattr(kafka, "_ANSWER_S", 0.1)
    following = asyncio.create_task(followed())
    await eventually(lambda: len(answers) > 2)
    monkeypatch.setattr(SilentConsumer, "gone", True)

    with pytest.raises(DependencyUnavailable):
        async with asyncio.timeout(30):
            await following
    assert {*answers} == {None}


async def test_calls_are_compared_once_with_all_that_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def follow(*_: object) -> AsyncIterator[SimpleNamespace | None]:
        reads.append(True)
        if len(reads) == 2:
            for number in range(3):
                yield record(number)
        else:
            for number in range(100):
                yield record(number)
            yield None
            yield record(100 + len(reads))
        if len(reads) == 3:
            await asyncio.Event().wait()
        message = "Kafka does not answer"
        raise DependencyUnavailable(message, dependency="kafka")

    def record(number: int) -> SimpleNamespace:
        return SimpleNamespace(offset=number, headers=(), value=revocation("KEY", "acme", f"key-{number}"))

    reads, compared = list[bool](), list[int]()
    monkeypatch.setattr(revocation_reader, "follow_topic", follow)
    monkeypatch.setattr(revocation_reader, "_RETRY_S", 0.001)
    revocations = Revocations()
    revocations.on_change(lambda: compared.append(revocations.count))
    reader = RevocationReader("kafka.test:1", revocations)
    await reader.start()
    await eventually(lambda: revocations.count == 102)
    await reader.stop()

    assert compared == [100, 101, 101, 101, 102], "read, one more, interrupted again, read again, one more"


async def test_an_outage_ends_with_what_was_revoked_meanwhile(
    stack: Addresses, new_topic: NewTopicFactory, publisher: Publisher, tmp_path: Path
) -> None:
    topic, issuer = await new_topic(configs=COMPACTED), TestIssuer(tmp_path)
    async with wire_to(stack.kafka) as wire, reading(wire.address, topic) as revocations:
        wire.cut()
        await revoke(publisher, topic, "the-key")
        assert not is_revoked(revocations, issuer, "other")  # what is known goes on to count
        await wire.repair()

        async def known() -> bool:
            return is_revoked(revocations, issuer, "the-key")

        await eventually(known)
