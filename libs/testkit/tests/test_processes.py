"""A run in several processes reports as one does, and none of its tests is lost."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest

pytest_plugins = ["tidemill_testkit.distribution", "tidemill_testkit.processes"]
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
    warnings.warn("of a test")

def test_fails():
    print("printed by", "the test that fails")
    assert 1 == 2

def test_ends_its_process():
    os._exit(9)

def test_after_it(): pass
"""
TWO = "import pytest\n@pytest.mark.parametrize('number', range(20))\ndef test_passes(number, tmp_path): pass\n"
THREE = "def test_passes(shared): pass\n"


async def test_a_run_in_processes_reports_each_test_and_fails_what_a_dead_process_leaves(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    for name, text in (("one", ONE), ("two", TWO), ("three", THREE)):
        (tmp_path / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "--quiet", "-rA", "--processes", "2", str(tmp_path)]
    run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    output, _ = await run.communicate()
    printed = output.decode()
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "4 failed, 22 passed, 1 warning" in printed, printed
    assert printed.count("printed by the test that fails") == 1
    for failed in ("test_fails - assert 1 == 2", "test_ends_its_process", "test_after_it", "fixtures of a session"):
        assert f"FAILED {'' if 'session' in failed else 'test_one.py::'}{failed}" in printed, printed
    assert "its process ended with the status 9" in printed
    assert "RuntimeError: could not be ended" in printed
    assert "UserWarning: of a test" in printed
    assert (tmp_path / "imported").read_text() == "once "
