"""Every `tidemill` command that the README shows does what it says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.system.running import ROOT, Platform

SHOWN = re.findall(r"^    tidemill (.+?)(?:\s+#.*)?$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
NEEDS_MORE = ("documents explain library/", "apply -f loop.yaml")
"""What stands for the reader's own: their documents, their file."""


def test_the_readme_shows_commands() -> None:
    assert len(SHOWN) > 5


@pytest.fixture(scope="module", autouse=True)
def _project(platform: Platform) -> None:
    """Have a project, as the demo leaves one."""
    platform.tidemill("projects", "create", platform.project)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a reader's folder: the repository's examples, and documents of their own."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "docs" / "accounts").mkdir(parents=True)
    (folder / "docs" / "accounts" / "passwords.md").write_text("# Passwords\n\nChoose `Reset` on the login page.\n")
    return folder


@pytest.mark.parametrize("command", [shown for shown in SHOWN if not shown.startswith(NEEDS_MORE)])
def test_a_shown_command_works(platform: Platform, folder: Path, command: str) -> None:
    piped = "sk-of-the-reader" if command.startswith("secrets set") else None
    outcome = platform.tidemill(*shlex.split(command), piped=piped, at=folder)

    assert outcome.code == 0, outcome.output + outcome.errors
