"""One process of a run at a time runs a service: its consumer groups have their names on the broker that all share.

Two would divide the partitions, and the one of another test would take the events of this one. The processes of a run
wait for one another; within one of them a service may run more than once, as replicas do.
"""

import fcntl
import os
from pathlib import Path
from typing import ClassVar, TextIO

RUN = "TIDEMILL_TEST_RUN"
"""In the environment of every process of a run: its folder. Found by it are those whose parent was killed."""


class SoleMember:
    """The right to run a service, from `take` to `leave`; both may be called again."""

    _taken: ClassVar[dict[str, tuple[TextIO, int]]] = {}
    """Of this process: the file that is locked, and how often it was taken."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._has = False

    def take(self) -> None:
        """Wait until no other process of the run has it. Blocks. Outside of a run it waits for no other."""
        if self._has or RUN not in os.environ:
            return
        file, count = self._taken.get(self._service) or (self._locked(), 0)
        self._taken[self._service] = file, count + 1
        self._has = True

    def leave(self) -> None:
        """Let another process have it, once no other part of this one does."""
        if not self._has:
            return
        self._has = False
        file, count = self._taken.pop(self._service)
        if count > 1:
            self._taken[self._service] = file, count - 1
        else:
            file.close()

    def __del__(self) -> None:
        """Leave where a test ended that has not stopped what it had killed."""
        self.leave()

    def _locked(self) -> TextIO:
        file = Path(os.environ[RUN], f"{self._service}.lock").open("w")  # noqa: SIM115 - closed by `leave`
        fcntl.flock(file, fcntl.LOCK_EX)
        return file
