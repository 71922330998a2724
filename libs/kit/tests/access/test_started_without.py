"""No service starts without what checks credentials."""

import os
import socket
import subprocess
import sys

import pytest

from libs.kit.tests.access.test_no_way_without import SAID
from tidemill_testkit.ports import free_port


def test_a_service_started_without_issuers_listens_neither_for_grpc_nor_for_http() -> None:
    ports = [free_port(), free_port()]
    given = {"GRPC_PORT": ports[0], "HTTP_PORT": ports[1], "HTTP_RPCS": "true", "ACCESS_ISSUERS": ""}
    given |= {"MONGO_URI": "mongodb://127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    given |= {"S3_ENDPOINT": "127.0.0.1:1", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret"}
    given |= {"INFERENCE_ADDRESS": "127.0.0.1:1"}
    environment = os.environ | {f"FEEDBACK_{name}": str(text) for name, text in given.items()}
    command = [sys.executable, "-m", "tidemill_feedback"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own

    assert (ended.returncode, ended.stderr) == (2, "1 setting(s) cannot be used:\n" + ended.stderr.partition("\n")[2])
    assert f"  FEEDBACK_ACCESS_ISSUERS: {SAID}" in ended.stderr
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
