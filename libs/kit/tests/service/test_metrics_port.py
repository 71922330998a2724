"""The port of metrics beside clients that keep it busy."""

import socket
import threading
import time
import urllib.request

import pytest

from libs.kit.tests.grpc.support import settings
from tidemill_kit.runtime import telemetry
from tidemill_kit.runtime.telemetry import serve_metrics
from tidemill_testkit.ports import free_port


def trickle(connection: socket.socket) -> None:
    for _ in range(2000):
        connection.sendall(b"G")
        time.sleep(0.02)


def test_a_connection_to_the_metrics_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_METRICS_WHOLE_S", 0.3)
    port = free_port()
    close = serve_metrics(settings(metrics_port=port))
    try:
        with socket.create_connection(("127.0.0.1", port)) as trickling, pytest.raises(ConnectionError):
            trickle(trickling)
    finally:
        close()


def test_idle_connections_to_the_metrics_hold_few_threads_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry._MetricsHandler, "timeout", 0.3)  # noqa: SLF001 - seconds would be waited for
    port, threads = free_port(), threading.active_count()
    close = serve_metrics(settings(metrics_port=port))
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    try:
        ended = [connection.recv(1) for connection in idle]  # each is closed, the last of them after 0.3 s
        assert ended == [b""] * 40
        assert threading.active_count() <= threads + 9
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"tidemill_rpc" in answer.read()
    finally:
        close()
        for connection in idle:
            connection.close()
