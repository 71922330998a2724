"""Which ports a stack gets."""

import os
import socket
import subprocess

import pytest

from tidemill_local.errors import PortTaken, StackError
from tidemill_local.ports import FIRST, LAST, Watch, choose, is_free, requested

NAMES = ["kafka", "mongo"]


def chosen(**changes: object) -> dict[str, int]:
    given: dict[str, object] = {"requested": {}, "previous": {}, "seed": "a folder"}
    return choose(NAMES, **{**given, **changes})  # type: ignore[arg-type]  # the test says what differs


def test_a_stack_gets_different_free_ports_below_those_of_outgoing_connections() -> None:
    ports = chosen()
    assert len(set(ports.values())) == len(NAMES)
    assert all(FIRST <= port <= LAST and is_free(port) for port in ports.values())


def test_two_folders_start_at_different_ports() -> None:
    assert chosen(seed="one") != chosen(seed="two")


def test_the_ports_of_last_time_are_kept_while_they_are_free() -> None:
    previous = chosen()
    assert chosen(previous=previous, seed="another folder") == previous


def test_a_port_of_last_time_that_another_process_took_is_replaced() -> None:
    previous = chosen()
    with socket.create_server(("127.0.0.1", previous["kafka"])):
        again = chosen(previous=previous)
    assert again["kafka"] != previous["kafka"]
    assert again["mongo"] == previous["mongo"]


def test_a_port_that_was_asked_for_is_given_to_no_other_process() -> None:
    previous = chosen()
    swapped = chosen(previous=previous, requested={"mongo": previous["kafka"]})
    assert swapped["mongo"] == previous["kafka"]
    assert swapped["kafka"] not in previous.values()


def test_a_taken_port_that_was_asked_for_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} for mongo is taken"):
            chosen(requested={"mongo": port})


def test_an_unknown_name_is_reported_with_those_that_exist() -> None:
    with pytest.raises(StackError, match="no port named redis; the names are kafka, mongo"):
        chosen(requested={"redis": 6379})


def test_ports_are_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_PORTS", "inference.http=8080, kafka=9092")
    assert requested() == {"inference.http": 8080, "kafka": 9092}
    monkeypatch.setenv("TIDEMILL_PORTS", "8080")
    with pytest.raises(StackError, match="write it as name=port pairs"):
        requested()


def test_a_port_that_another_process_took_after_it_was_chosen_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, subprocess.Popen(["/bin/sleep", "60"]) as program:
        port = taken.getsockname()[1]
        for pid in (0, program.pid):
            with pytest.raises(PortTaken, match=rf"Port {port} for s3\.master was taken .*: stop the stack and start"):
                Watch({"s3.master": port}).check({"s3": pid})
        program.kill()


def test_a_port_that_its_own_program_listens_on_or_that_no_program_waits_for_is_not_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        watch = Watch({"mongo": port, "kafka": chosen()["kafka"], "rag.grpc": port})
        watch.check({"mongo": os.getpid(), "kafka": 0})
        watch.check({"mongo": os.getpid()})


def test_a_port_is_asked_about_again_once_its_program_has_another_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        watch = Watch({"mongo": port})
        watch.check({"mongo": os.getpid()})
        with pytest.raises(PortTaken):
            watch.check({"mongo": 0})
