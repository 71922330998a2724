"""A service's process that ends by itself is reported with what it said last."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tidemill_testkit.service_process import ServiceProcess

if TYPE_CHECKING:
    from tidemill_local import Addresses

READY = """
import json, sys, time
for event in ({"event": "service_alive", "grpc_port": 1}, {"event": "service_ready"}):
    print(json.dumps(event), flush=True)
"""
FAILS = 'sys.exit("the lock is held by another directory")'
WORKS = "time.sleep(60)"


class Small(ServiceProcess):
    """A module that says that it is ready; no server is needed."""

    service = "small"

    def _settings(self) -> dict[str, str]:
        return {}

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}


def started(folder: Path, then: str) -> Small:
    (folder / "tidemill_small.py").write_text(READY + then)
    small = Small(stack=cast("Addresses", None), folder=folder)
    small.start()
    return small


def test_the_end_of_a_process_that_nothing_ended_is_reported(tmp_path: Path) -> None:
    small = started(tmp_path, FAILS)
    os.waitid(os.P_PID, small.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(AssertionError, match=r"small had ended by itself with 1:[^$]*the lock is held by another"):
        small.kill(noticed=False)


def test_one_that_was_killed_or_stopped_may_be_killed_again(tmp_path: Path) -> None:
    small = started(tmp_path, WORKS)
    small.kill(noticed=False)
    small.kill(noticed=False)
    small.start()
    small.stop()
    small.kill(noticed=False)
