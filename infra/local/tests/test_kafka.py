"""A Kafka node's own storage, and who may speak to it."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from infra.local.tests.conftest import answers, as_broker, node_in, running
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import Secret
from tidemill_kit.events.connection import client_options
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_local import topics

TOPIC, GROUP = "tidemill.ingest.document.v1", "tidemill.rag.documents"


@pytest.mark.long
@pytest.mark.server
@pytest.mark.timeout(300)
async def test_a_folder_from_before_there_were_users_keeps_its_records_and_groups(tmp_path: Path) -> None:
    earlier = node_in(tmp_path, passwords=False)
    with running(earlier, tmp_path):
        servers = as_broker(earlier)
        await answers(servers)
        await topics.create(servers, topics.declared(), copies=1)
        async with AIOKafkaProducer(**client_options(servers)) as producer:
            for number in range(3):
                await producer.send_and_wait(TOPIC, b"%d" % number, partition=0)
        options = client_options(servers) | {"group_id": GROUP, "auto_offset_reset": "earliest"}
        async with AIOKafkaConsumer(TOPIC, **options, enable_auto_commit=False) as consumer:
            await consumer.getone()
            await consumer.commit()

    node = replace(node_in(tmp_path, passwords=True), cluster=earlier.cluster)
    assert node.passwords
    with running(node, tmp_path):
        await answers(as_broker(node))
        await topics.grant(as_broker(node), node.passwords)
        rag = replace(
            as_broker(node),
            mechanism="SCRAM-SHA-512",
            username="tidemill-rag",
            password=Secret(file=node.passwords.file("tidemill-rag")),
        )
        await answers(rag)  # a new user is known to the node a moment later
        assert [record.value async for record in read_topic(rag, TOPIC)] == [b"0", b"1", b"2"]
        async with AIOKafkaConsumer(TOPIC, **client_options(rag), group_id=GROUP) as consumer:
            assert (await consumer.getone()).value == b"1"
        with pytest.raises(DependencyUnavailable):
            await Publisher(f"127.0.0.1:{node.broker_port}", timeout_s=3).start()


def test_a_password_is_made_once_and_anew_where_its_file_was_removed(tmp_path: Path) -> None:
    files = PasswordFiles(tmp_path / "kafka")
    first = files.ensure(["a", "b"])
    assert files.ensure(["b", "a"]) == first
    assert len(set(first.values())) == 2
    assert files.folder.stat().st_mode & 0o077 == files.file("a").stat().st_mode & 0o077 == 0

    files.file("a").unlink()
    assert files.ensure(["a", "b"]) == first | {"a": files.file("a").read_text().strip()}
    assert files.ensure(["a"])["a"] != first["a"]
