"""A run in several processes reports as one does, and none of its tests is lost."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PLUGINS = 'pytest_plugins = ["tidemill_testkit.distribution", "tidemill_testkit.processes"]\n'
CONFTEST = """
import pytest

imported = []

@pytest.fixture(scope="session")
def shared():
    yield
    raise RuntimeError("could not be ended")
"""
ONE = """
import os, warnings
from pathlib import Path

Path(__file__).with_name("imported").open("a").write("once ")

def test_passes(shared):
    import late
    warnings.warn("of a test")

def test_fails():
    print("printed by", "the test that fails")
    assert 1 == 2

def test_ends_its_process():
    os._exit(9)

def test_after_it(): pass
"""
TWO = "import pytest\n@pytest.mark.parametrize('number', range(20))\ndef test_passes(number, tmp_path): pass\n"
THREE = "def test_passes(shared): import late\n"
LATE = "from pathlib import Path\nPath(__file__).with_name('late').open('a').write('once ')\n"
PASSES = "def test_passes(): pass\n"

DIES = """
import os, pathlib

def test_makes_its_process_end_once_it_has_taken_another_unit():
    read = os.read
    def dying(file, count):
        read(file, count)
        pathlib.Path("died").touch()
        os._exit(9)
    os.read = dying
"""
WAITS = """
import pathlib, time

def test_waits():
    for _ in range(2000):
        if pathlib.Path("died").exists():
            break
        time.sleep(0.005)
"""
ENDS_LATER = """
import os, pytest

@pytest.fixture(scope="session")
def shared():
    yield
    os._exit(9)

def test_passes(shared): pass
"""
HANGS = """
import pytest, time
from tidemill_testkit import processes

@pytest.fixture(scope="session")
def shared():
    processes.STOPPED_WITHIN_S = 0.1
    yield
    time.sleep(100)

def test_passes(shared): pass
"""
LEAVES_A_FORK = """
import multiprocessing, os, pathlib, time

def outlive():
    for _ in range(1000):
        if pathlib.Path("finished").exists():
            return
        time.sleep(0.01)
    pathlib.Path("waited_for").touch()

def test_is_killed():
    multiprocessing.get_context("fork").Process(target=outlive).start()
    os.kill(os.getpid(), 9)
"""
FINISHES = "import pathlib\ndef pytest_sessionfinish():\n    pathlib.Path('finished').touch()\n"
LEAKS = """
class Leaks:
    def __init__(self): self.me = self
    def __del__(self): raise RuntimeError("leaked")

def test_leaks(): Leaks()
"""
CANNOT_BEGIN = """
import shutil

def pytest_collection_finish(session):
    shutil.rmtree(session.config._tmp_path_factory.getbasetemp())
"""


async def test_a_run_in_processes_reports_each_test_and_fails_what_a_dead_process_leaves(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    files = {"one": ONE, "two": TWO, "three": THREE}
    code, printed = await run_in_two_processes(tmp_path, CONFTEST, files, shared_imports="test_ late")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "5 failed, 22 passed, 1 warning" in printed, printed
    assert printed.count("printed by the test that fails") == 1
    for failed in ("test_fails - assert 1 == 2", "test_ends_its_process - it has no report", "test_after_it - it has"):
        assert f"FAILED test_one.py::{failed}" in printed, printed
    assert "FAILED a process - it ended with the status 9" in printed, printed
    assert "RuntimeError: could not be ended" in printed
    assert "UserWarning: of a test" in printed
    assert (tmp_path / "imported").read_text() == (tmp_path / "late").read_text() == "once "


@pytest.mark.parametrize(
    ("conftest", "files", "counted", "shown"),
    [
        pytest.param(
            "",
            {"one": DIES, "two": WAITS, "three": WAITS},
            "2 failed, 2 passed",
            ["test_waits - it has no report", "it ended with the status 9"],
            id="a process dies before it says what it has taken",
        ),
        pytest.param(
            "",
            {"one": ENDS_LATER, "two": PASSES},
            "1 failed, 2 passed",
            ["FAILED a process - it ended with the status 9"],
            id="a process dies after its tests",
        ),
        pytest.param(
            "",
            {"one": HANGS, "two": PASSES},
            "1 failed, 2 passed",
            ['test_one.py", line 9 in shared', "FAILED a process - it ended with the status 1"],
            id="a fixture hangs at its end",
        ),
        pytest.param(
            FINISHES,
            {"one": LEAVES_A_FORK, "two": PASSES},
            "2 failed, 1 passed",
            ["test_is_killed - it has no report", "it ended with the status -9"],
            id="a process dies while a fork of its own lives",
        ),
        pytest.param(
            "",
            {"one": LEAKS, "two": PASSES},
            "1 failed, 2 passed",
            ["RuntimeError: leaked"],
            id="an object of the last test fails when it is freed",
        ),
        pytest.param(
            CANNOT_BEGIN,
            {"one": PASSES, "two": PASSES},
            "9 failed",
            ["test_one.py::test_passes - it has no report", "test_two.py::test_passes - it has no report"],
            id="no process can begin",
        ),
    ],
)
async def test_a_run_fails_where_a_process_does_not_end_as_it_should(
    tmp_path: Path, conftest: str, files: Mapping[str, str], counted: str, shown: list[str]
) -> None:
    code, printed = await run_in_two_processes(tmp_path, conftest, files)
    assert code == pytest.ExitCode.TESTS_FAILED, printed
    assert [text for text in (*shown, f"{counted} in") if text not in printed] == [], printed
    assert not (tmp_path / "waited_for").exists()


async def run_in_two_processes(
    folder: Path, conftest: str, files: Mapping[str, str], *, shared_imports: str = ""
) -> tuple[int | None, str]:
    """Run files of tests, and return the exit code and what was printed."""
    (folder / "conftest.py").write_text(PLUGINS + conftest)
    settings = f"filterwarnings = error::pytest.PytestUnraisableExceptionWarning\nshared_imports = {shared_imports}\n"
    (folder / "pytest.ini").write_text(f"[pytest]\n{settings}")
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "--quiet", "-rA", "--processes", "2", str(folder)),
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(240):
            output, _ = await run.communicate()
    except TimeoutError:
        os.killpg(run.pid, signal.SIGKILL)
        await run.wait()
        raise
    return run.returncode, output.decode()
