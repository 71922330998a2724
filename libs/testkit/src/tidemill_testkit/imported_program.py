"""Starts a program as a fork of a process that has imported it, which takes a second or more, and does nothing else.

`python -m tidemill_testkit.imported_program 5 tidemill_monitor` does so for who has the other end of the socket 5. What
runs in a fork is the package's `__main__`, or a function (`tidemill_cli.main:main`), with arguments, an environment and
streams of its own, and it ends as a program does. One thing differs: all forks order the texts of a set alike, as they
have the hash seed of the process that has imported.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ctypes import CDLL, get_errno
from dataclasses import asdict, dataclass
from threading import Lock
from typing import IO, Any, ClassVar

_MAX_MESSAGE_BYTES = 1024 * 1024
_STREAMS = 3
_ANSWER_S = 120.0
"""How long an import and a fork may take on a busy machine."""
_MAX_KEPT = 2
"""Programs that stay imported: a test of a service may run the command as well."""
_PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2): a process whose parent ends becomes a child of the caller."""


class Started:
    """A child of this process: what `subprocess.Popen` can do, as far as it is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the status it has ended with, negative for a signal, or None."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._status = os.waitstatus_to_exitcode(status)
                os.close(self._handle)
        return self._status

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the status once it has ended.

        Raises:
            TimeoutError: it has not ended in time.

        """
        if self._status is None:
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            if not ended.poll(None if timeout_s is None else 1000 * timeout_s):
                message = f"the process {self.pid} has not ended in {timeout_s} s"
                raise TimeoutError(message)
        status = self.poll()
        assert status is not None
        return status

    def wait_or_kill(self, timeout_s: float) -> int:
        """Return the status once it has ended; where the wait fails or is interrupted, it is killed first.

        Raises:
            TimeoutError: it had not ended in time.

        """
        try:
            return self.wait(timeout_s)
        except BaseException:
            self.kill()
            self.wait()
            raise

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one run of a program gets."""

    environment: Mapping[str, str]
    arguments: Sequence[str] = ()
    folder: str = "."


class ImportedProgram:
    """The process that has imported a program. Few at a time: a run tests one after the other."""

    _kept: ClassVar[dict[tuple[str, ...], "ImportedProgram"]] = {}
    """The one that was used last is the last."""
    _starting: ClassVar[Lock] = Lock()

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (self._socket, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_MESSAGE_BYTES)
        self._socket.settimeout(_ANSWER_S)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", __name__, str(theirs.fileno()), *program],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    @classmethod
    def start(cls, program: Sequence[str], call: Call, streams: Sequence[IO[bytes]]) -> Started | None:
        """Start a program, which is a package or a function, and further modules to import, or functions that import.

        `streams` are its input, output and errors. Nothing is returned where it cannot be imported, and the errors say
        why. The environment of its first start counts for what is read when a module is imported.

        Raises:
            TimeoutError: it was not imported in time.

        """
        with cls._starting:
            named = tuple(program)
            kept = cls._kept.pop(named, None)
            if kept and not kept.runs:
                kept.close()
                kept = None
            if kept is None:
                while len(cls._kept) >= _MAX_KEPT:
                    cls._kept.pop(next(iter(cls._kept))).close()
                kept = cls(named, call.environment, streams[-1])
            try:
                started = kept.fork(call, streams)
            except BaseException:  # its answer may still come, and would be taken for that to the next call
                kept.close()
                raise
            cls._kept[named] = kept
            return started

    @classmethod
    def end(cls) -> None:
        """End the processes; the programs that they have started go on."""
        while cls._kept:
            cls._kept.popitem()[1].close()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def fork(self, call: Call, streams: Sequence[IO[bytes]]) -> Started | None:
        """Let it fork, unless it cannot."""
        message = json.dumps(asdict(call) | {"environment": dict(call.environment)}).encode()
        with _adopting(), suppress(ConnectionError):
            socket.send_fds(self._socket, [message], [each.fileno() for each in streams])
            if answer := self._socket.recv(_MAX_MESSAGE_BYTES):
                return Started(int(answer))
        return None

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def _adopting() -> Iterator[None]:
    """Let this process be the parent of those whose parent ends meanwhile."""
    libc = CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, os.strerror(get_errno())
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def main() -> None:
    """Import the program that the command line names, and fork for each call that comes."""
    connection, entry, further = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3:]
    package, _, function = entry.partition(":")
    gc.disable()  # nearly all that an import makes stays
    _import(package if function else f"{package}.__main__", further)
    sys.modules.pop(f"{package}.__main__", None)
    gc.collect()
    gc.freeze()  # else each fork would copy what a collection of garbage visits
    gc.enable()
    while True:
        message, streams, *_ = socket.recv_fds(connection, _MAX_MESSAGE_BYTES, _STREAMS)
        if not message:
            return
        answer, asked = os.pipe()
        if os.fork() == 0:
            if pid := os.fork():
                os.write(asked, str(pid).encode())
                os._exit(0)  # so that who has asked becomes the program's parent
            for each in (connection.detach(), answer, asked):
                os.close(each)
            _become(json.loads(message), streams)
            if function:
                getattr(sys.modules[package], function)()
            else:
                runpy.run_module(package, run_name="__main__", alter_sys=True)
            return
        os.wait()
        connection.send(os.read(answer, 32))
        for each in (*streams, answer, asked):
            os.close(each)


def _import(program: str, further: Sequence[str]) -> None:
    importlib.import_module(program)  # what it imports first has to be the first
    for module, _, importing in (each.partition(":") for each in further):
        found = importlib.import_module(module)
        if importing:
            getattr(found, importing)()


def _become(call: Mapping[str, Any], streams: Sequence[int]) -> None:
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv[1:] = call["arguments"]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    gc.unfreeze()


if __name__ == "__main__":
    main()
