"""What a harness is to the commands: how it is asked, and how its report is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tidemill.evaluator.v1.harness_run_pb2 import HarnessScore, HarnessTool

INSTALL_FAILED = "HARNESS_MISSING"
STOPPED = "HARNESS_STOPPED"
TIMED_OUT = "HARNESS_TIMED_OUT"
UNREADABLE = "REPORT_UNREADABLE"
NOT_RUN = "TEST_NOT_RUN"
TOO_FEW_ANSWERS = "TOO_FEW_ANSWERS"
MAX_FILE_BYTES = 256 * 1024 * 1024
"""Of one file of a report."""


class HarnessFailed(Exception):
    """A run has no scores; `reason` and `message` are recorded, so they have no prompt and no answer."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom a harness asks."""

    deployment: str
    base_url: str
    """Of the OpenAI API, with /v1."""
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a harness reports."""

    scores: Sequence[HarnessScore]
    report: bytes = field(repr=False)


class Harness(Protocol):
    """A public harness, with what it is asked for."""

    @property
    def tool(self) -> HarnessTool.ValueType:
        """Which it is."""
        ...

    @property
    def name(self) -> str:
        """What people call it, and the name of its lock."""
        ...

    @property
    def module(self) -> str:
        """What Python runs, and the name of the distribution."""
        ...

    @property
    def tests(self) -> Sequence[str]:
        """What is asked for, as it is recorded."""
        ...

    def prepare(self, folder: Path, target: Target) -> Sequence[str]:
        """Write what it needs into the folder, and return its arguments. The token is in neither."""
        ...

    def environment(self, target: Target) -> Mapping[str, str]:
        """Return the variables that it needs, with the token."""
        ...

    def read(self, folder: Path) -> Found:
        """Return what it has written into the folder.

        Raises:
            HarnessFailed: that cannot be read, or has no scores.

        """
        ...


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file of a report.

    Raises:
        HarnessFailed: it is not there, too large, or no text.

    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            message = f"its report has more than {MAX_FILE_BYTES} bytes: ask for fewer tests"
            raise HarnessFailed(UNREADABLE, message)
        return [line for line in file.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        message = f"its report cannot be read ({type(error).__name__}): run it again with --keep, and look at its log"
        raise HarnessFailed(UNREADABLE, message) from error


def unreadable(*, why: str) -> HarnessFailed:
    """Return the error of a report that is not as the harness's version writes it."""
    return HarnessFailed(UNREADABLE, f"its report {why}: run it again with --keep, and look at its log")
