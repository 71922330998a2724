"""A service's process begins as a fork, and one that ends by itself is reported with what it said last."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, cast

import pytest

from tidemill_testkit import imported_program, service_process
from tidemill_testkit.imported_program import ImportedProgram, Started
from tidemill_testkit.service_process import ServiceProcess

if TYPE_CHECKING:
    from tidemill_local import Addresses

APP = """
from pathlib import Path
Path(__file__).with_name("imported").open("a").write("once ")
"""
READY = """
import json, os, sys, time
print("has", os.environ.get("WORD"))
for event in ({"event": "service_alive", "grpc_port": 1}, {"event": "service_ready"}):
    print(json.dumps(event), flush=True)
"""
FAILS = 'sys.exit("the lock is held by another directory")'
WORKS = "time.sleep(60)"
WAITS = """
import time
while not Path(__file__).with_name("go").exists():
    time.sleep(0.01)
"""
ENDS = "sys.exit(3)"


@dataclass(kw_only=True)
class Small(ServiceProcess):
    """A package that says that it is ready; no server is needed."""

    service = "small"
    word: str = "first"

    def _settings(self) -> dict[str, str]:
        return {}

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder), "WORD": self.word}


@pytest.fixture(autouse=True)
def _imported_anew() -> Iterator[None]:
    ImportedProgram.end()
    yield
    ImportedProgram.end()


def small_in(folder: Path, then: str, *, ready: str = READY, app: str = APP) -> Small:
    package = folder / "tidemill_small"
    package.mkdir()
    program = "if __name__ == '__main__':\n" + indent(ready + then, "    ")
    for name, text in (("__init__", ""), ("app", app), ("__main__", program)):
        (package / f"{name}.py").write_text(text)
    return Small(stack=cast("Addresses", None), folder=folder)


def test_the_end_of_a_process_that_nothing_ended_is_reported(tmp_path: Path) -> None:
    small = small_in(tmp_path, FAILS)
    small.start()
    os.waitid(os.P_PID, small.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(AssertionError, match=r"small had ended by itself with 1:[^$]*the lock is held by another"):
        small.kill(noticed=False)


def test_one_that_was_killed_or_stopped_may_be_killed_again(tmp_path: Path) -> None:
    small = small_in(tmp_path, WORKS)
    small.start()
    small.kill(noticed=False)
    small.kill(noticed=False)
    small.start()
    assert small.stop() == -15
    small.kill(noticed=False)


def test_each_start_has_its_own_environment_and_status_and_imports_nothing_again(tmp_path: Path) -> None:
    small = small_in(tmp_path, ENDS)
    for small.word in ("one", "two"):
        small.start()
        os.waitid(os.P_PID, small.pid, os.WEXITED | os.WNOWAIT)
        assert small.stop() == 3

    said = [line for line in small.log.read_text().splitlines() if line.startswith("has")]
    assert said == ["has one", "has two"]
    assert (tmp_path / "tidemill_small" / "imported").read_text() == "once "


def test_a_start_that_is_given_up_leaves_the_next_one_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_in(tmp_path, WORKS, app=APP + WAITS)
    with monkeypatch.context() as impatient:
        impatient.setattr(imported_program, "_ANSWER_S", 0.01)
        with pytest.raises(TimeoutError):
            small.start()
    (tmp_path / "tidemill_small" / "go").touch()

    small.word = "second"
    small.start()

    said = [line for line in small.log.read_text().splitlines() if line.startswith("has")]
    assert said == ["has second"]
    small.kill(noticed=False)


def test_a_process_that_is_not_ready_in_time_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_process, "START_S", 0.0)
    small = small_in(tmp_path, WORKS, ready="import time\n")

    with pytest.raises(AssertionError, match="not ready in time"):
        small.start()

    assert not Path("/proc", str(small.pid)).exists()
    small.kill(noticed=False)


def test_a_program_that_does_not_end_in_time_is_killed() -> None:
    program = Started(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60"))  # noqa: S606 - ends below

    with pytest.raises(TimeoutError, match=f"{program.pid} has not ended in 0.01 s"):
        program.wait_or_kill(0.01)

    assert program.poll() == -signal.SIGKILL


def test_what_cannot_be_imported_is_reported_with_the_reason(tmp_path: Path) -> None:
    small = Small(stack=cast("Addresses", None), folder=tmp_path)

    with pytest.raises(AssertionError, match="No module named 'tidemill_small'"):
        small.start()
