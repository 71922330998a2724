import subprocess
import sys
from pathlib import Path

import pytest

from tidemill_testkit.sole_member import RUN, SoleMember

TAKES = "from tidemill_testkit.sole_member import SoleMember; SoleMember('feedback').take(); print('taken')"


def taken_within(seconds: float) -> bool:
    """Return whether another process of the run gets the service in that time."""
    try:
        command = [sys.executable, "-c", TAKES]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds, check=True)  # noqa: S603 - our own script
    except subprocess.TimeoutExpired:
        return False
    return done.stdout == b"taken\n"


@pytest.fixture(autouse=True)
def _own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN, str(tmp_path))


def test_another_process_waits_until_all_of_this_one_have_left() -> None:
    first, second, other = SoleMember("feedback"), SoleMember("feedback"), SoleMember("inference")
    first.take()
    first.take()
    second.take()
    other.take()

    first.leave()
    assert not taken_within(1.5)
    second.leave()
    assert taken_within(30)
    other.leave()


def test_what_was_not_left_ends_with_its_owner() -> None:
    forgotten = SoleMember("feedback")
    forgotten.take()
    del forgotten

    assert taken_within(30)
