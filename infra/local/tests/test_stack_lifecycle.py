"""The life cycle of one stack: started, damaged, stopped, started again."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tidemill_kit.events.connection import client_options
from tidemill_local import Addresses, LocalStack, StackError, ports
from tidemill_local.errors import PortTaken
from tidemill_local.kafka import ADMIN
from tidemill_local.supervision import MARK

TOPIC = "tidemill.rag.index.v1"
pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


def until(condition: Callable[[], bool], *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def processes(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if belongs_to(process, folder)]


def pids(stack: LocalStack) -> dict[str, int]:
    """Return those of the programs that are there; supervisor calls one that is younger than 3 s STARTING."""
    return {
        program.name: program.pid for program in stack.status().programs if program.state in {"STARTING", "RUNNING"}
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Long enough that the sockets do not fit below it.
    folder = tmp_path_factory.mktemp("a-folder-whose-name-is-much-too-long-for-the-path-of-a-unix-socket-on-linux")
    return folder.resolve() / "stack"


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[LocalStack]:
    stack = LocalStack(folder, services=False)
    stack.up()
    yield stack
    stack.down()


@pytest.fixture
def up(own: LocalStack) -> Addresses:
    return own.up()


def as_admin(stack: Addresses) -> dict[str, Any]:
    return client_options(stack.kafka_servers(ADMIN))


async def publish(stack: Addresses, count: int) -> int:
    """Publish and return the offset after the last record."""
    async with AIOKafkaProducer(**as_admin(stack), acks="all", enable_idempotence=True) as producer:
        sent = [await producer.send_and_wait(TOPIC, b"%d" % number, partition=0) for number in range(count)]
    return int(sent[-1].offset) + 1


async def end_offset(stack: Addresses) -> int:
    consumer = AIOKafkaConsumer(**as_admin(stack))
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, 0)
        return int((await consumer.end_offsets([partition]))[partition])
    finally:
        await consumer.stop()


def test_everything_listens_on_loopback_only(own: LocalStack, folder: Path) -> None:
    own.up()
    listening = {
        connection.laddr.ip
        for process in processes(folder)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_second_up_says_that_it_runs_and_starts_nothing(own: LocalStack, up: Addresses) -> None:
    before, said = pids(own), list[str]()
    assert own.up(said.append) == up
    assert "already runs" in said[0]
    assert pids(own) == before


def test_only_its_owner_may_read_the_keys(own: LocalStack, up: Addresses) -> None:
    assert up.s3.secret_key
    config = own.addresses_file.parent / "config"
    secrets = [own.addresses_file, config / "kafka.properties", *(config / "kafka").iterdir()]
    assert len(secrets) > 10
    assert [file for file in secrets if file.stat().st_mode & 0o077] == []


def test_no_password_is_in_a_command_line_or_a_log(own: LocalStack, up: Addresses, folder: Path) -> None:
    passwords = [file.read_text().strip() for file in Path(up.kafka_passwords).iterdir()]
    shown = "".join(" ".join(process.cmdline()) for process in processes(folder))
    logs = "".join(file.read_text(errors="replace") for file in (folder / "logs").iterdir())

    assert own.status().running
    assert passwords
    assert [each for each in passwords if each in shown or each in logs] == []


async def test_acknowledged_writes_are_there_after_every_server_was_killed(own: LocalStack, up: Addresses) -> None:
    after_last = await publish(up, 100)
    with pymongo.MongoClient[dict[str, object]](up.mongo, serverSelectionTimeoutMS=10_000) as client:
        things = client["local"]["things"]
        for number in range(200):
            things.replace_one({"_id": number}, {"_id": number, "round": after_last}, upsert=True)
    before = pids(own)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: pids(own).keys() == before.keys() and not set(pids(own).values()) & set(before.values()))
    own.up()
    assert await end_offset(up) == after_last
    with pymongo.MongoClient[dict[str, object]](up.mongo, serverSelectionTimeoutMS=10_000) as client:
        assert client["local"]["things"].count_documents({"round": after_last}) == 200


async def test_up_after_the_supervisor_was_killed_replaces_what_it_left(
    own: LocalStack, up: Addresses, folder: Path
) -> None:
    after_last = await publish(up, 10)
    kill_supervisor(folder)
    until(lambda: not own.status().running)
    assert own.status().left_over >= 3
    said: list[str] = []
    assert own.up(said.append) == up, "the ports stay the same"
    assert "lost their supervisor" in said[0]
    assert await end_offset(up) == after_last


@pytest.mark.usefixtures("up")
def test_down_leaves_no_process_even_when_the_supervisor_was_killed(own: LocalStack, folder: Path) -> None:
    kill_supervisor(folder)
    assert own.down()
    assert processes(folder) == []
    assert not own.addresses_file.exists()
    assert not own.down(), "the second time there is nothing to stop"


def test_a_taken_port_that_was_asked_for_is_reported_in_one_sentence(
    own: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.down()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TIDEMILL_PORTS", f"kafka={port}")
        with pytest.raises(PortTaken, match=f"Port {port} for kafka is taken: stop what uses it, or"):
            own.up()


@pytest.mark.long
def test_a_port_that_another_process_took_after_it_was_chosen_is_replaced(
    own: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.down()
    choose, taken, said = ports.choose, list[socket.socket](), list[str]()

    def taken_meanwhile(*names: Any, **options: Any) -> dict[str, int]:  # noqa: ANN401 - as `choose` takes them
        chosen = choose(*names, **options)
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", chosen["mongo"])))
        return chosen

    monkeypatch.setattr(ports, "choose", taken_meanwhile)
    found = own.up(said.append)
    with taken[0]:
        port = taken[0].getsockname()[1]
    assert any(f"Port {port} for mongo was taken" in each for each in said)
    assert not found.mongo.rstrip("/").endswith(f":{port}")


def test_an_unknown_service_is_reported_in_one_sentence(folder: Path) -> None:
    with pytest.raises(StackError, match="There is no service storage; there are ingest, rag"):
        LocalStack(folder, services=["storage"]).up()


@pytest.mark.usefixtures("up")
def test_logs_report_what_a_server_printed(own: LocalStack) -> None:
    assert any("listens on" in line.text for line in own.logs("mongo"))
    with pytest.raises(StackError, match="There is no program mongodb; there are kafka, mongo, s3"):
        own.logs("mongodb")


@pytest.mark.usefixtures("up")
def test_down_leaves_no_process(own: LocalStack, folder: Path) -> None:
    assert own.down()
    assert processes(folder) == []


def kill_supervisor(folder: Path) -> None:
    os.kill(int((folder / "config" / "supervisord.pid").read_text()), signal.SIGKILL)
