"""What a run of tests leaves, and how its tests are divided."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tidemill_testkit.distribution import pytest_collection_modifyitems, unit_of
from tidemill_testkit.polling import eventually

TEST = """
import subprocess, sys, time
from pathlib import Path

def test_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    Path(__file__).with_name("pid").write_text(f"{child.pid}\\n")
    time.sleep(300)
"""


async def test_a_run_that_is_ended_by_sigterm_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tidemill_testkit.stack"]')
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_it.py").write_text(TEST)
    pid = tmp_path / "pid"
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", str(tmp_path)]
    run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    await eventually(lambda: pid.exists() and pid.read_text().endswith("\n"))
    run.terminate()
    assert await run.wait() == pytest.ExitCode.INTERRUPTED
    assert not psutil.pid_exists(int(pid.read_text()))


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("services/rag/tests/process/test_process.py::test_it", "services/rag/tests/process"),
        ("tests/system/test_turn.py::test_it[a/b::c]", "tests/system"),
        ("services/rag/tests/domain/test_plan.py::test_it", "services/rag/tests/domain/test_plan.py"),
    ],
)
def test_tests_of_a_folder_of_processes_run_together_and_others_by_file(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


SHARED = """
import pytest
from pathlib import Path

@pytest.fixture(scope="package")
def shared():
    yield
    Path(__file__).with_name("ended").write_text("")
"""


async def test_what_the_tests_of_a_folder_share_ends_with_the_last_of_them(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tidemill_testkit.distribution"]')
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "a" / "process").mkdir(parents=True)
    (tmp_path / "a" / "process" / "conftest.py").write_text(SHARED)
    for name in ("one", "two"):
        kept = "assert not Path(__file__).with_name('ended').exists()"
        file = tmp_path / "a" / "process" / f"test_{name}.py"
        file.write_text(f"from pathlib import Path\ndef test_it(shared): {kept}")
    (tmp_path / "test_z.py").write_text(
        f"from pathlib import Path\ndef test_it(): assert Path({str(tmp_path)!r}, 'a/process/ended').exists()"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--import-mode=importlib", "--quiet", str(tmp_path)]
    run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    printed, _ = await run.communicate()
    assert b"3 passed" in printed, printed.decode()


async def test_what_takes_longest_begins_first(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tidemill_testkit.distribution"]')
    (tmp_path / "pytest.ini").write_text("[pytest]\nheavy_tests = c/heavy\nmarkers = server\n")
    for name in ("a", "b/server", "c/heavy", "d/process", "e/system"):
        file = tmp_path / name / f"test_{name[0]}.py"
        file.parent.mkdir(parents=True)
        file.write_text("import pytest\n@pytest.fixture\ndef stack(): pass\ndef test_it(): pass")
        if name == "b/server":
            file.write_text(file.read_text() + "\ndef test_that(stack): pass")
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--collect-only", "--quiet", str(tmp_path)]
    run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    output, _ = await run.communicate()
    found = [line for line in output.decode().splitlines() if "::" in line]
    assert [line.partition("::")[0][-4] for line in found] == ["e", "d", "b", "b", "c", "a"]


@pytest.mark.parametrize(
    ("options", "run"),
    [
        ({"long": "without"}, ["server", "heavy", "plain"]),
        ({"long": "with"}, ["server", "heavy", "long", "plain"]),
        ({"long": "only"}, ["long"]),
        ({"long": "without", "quick": True}, ["plain"]),
    ],
)
def test_what_takes_long_is_run_where_it_is_asked_for(options: Mapping[str, Any], run: list[str]) -> None:
    items = [Item(name) for name in ("server", "heavy", "long", "plain")]
    left_out: list[Item] = []

    def deselected(items: Sequence[Item]) -> None:
        left_out.extend(items)

    hook = SimpleNamespace(pytest_deselected=deselected)
    config: Any = SimpleNamespace(getoption=options.get, getini=lambda _: (), hook=hook)

    pytest_collection_modifyitems(config, items)  # type: ignore[arg-type] # of what it asks

    assert [item.mark for item in items] == run
    assert len(left_out) + len(items) == 4


@dataclass(frozen=True)
class Item:
    """A test with one mark, in a file of its own."""

    mark: str

    @property
    def nodeid(self) -> str:
        return f"test_{self.mark}.py::test_it"

    @property
    def path(self) -> Path:
        return Path(f"test_{self.mark}.py")

    def get_closest_marker(self, name: str) -> str | None:
        return name if name == self.mark else None
