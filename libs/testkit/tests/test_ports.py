import socket
from pathlib import Path

from tidemill_testkit.ports import free_port


def test_no_outgoing_connection_can_take_a_port_before_its_server_listens() -> None:
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())

    assert all(free_port() < first for _ in range(20))


def test_a_port_is_given_once() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_a_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0
