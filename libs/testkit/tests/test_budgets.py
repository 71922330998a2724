"""A run whose tests take more processor time than their folder may fails."""

import subprocess
import sys
from pathlib import Path

import pytest

BUSY = """
import time

def test_it():
    begin = time.process_time()
    while time.process_time() < begin + 0.3:
        pass
"""


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize(("budget", "code"), [("0.2", pytest.ExitCode.TESTS_FAILED), ("30", pytest.ExitCode.OK)])
def test_a_folder_that_takes_more_than_its_budget_fails_the_run_and_is_named(
    tmp_path: Path, budget: str, code: int, processes: str
) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tidemill_testkit.budgets"]')
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nprocessor_time_budgets = services/rag {budget}")
    tests = tmp_path / "services" / "rag" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(BUSY)
    command = [sys.executable, "-m", "pytest", "--quiet", "-n", processes, str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert ended.returncode == code
    assert "services/rag 0 s" in ended.stdout
    assert ("services/rag: its tests took" in ended.stdout) == (code != pytest.ExitCode.OK)
