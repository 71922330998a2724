"""A service in a process of its own, as operators run it."""

import asyncio
import json
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tidemill_local import Addresses
from tidemill_testkit.access import installation, service_token
from tidemill_testkit.imported_program import Call, ImportedProgram
from tidemill_testkit.sessions import end_sessions
from tidemill_testkit.sole_member import SoleMember
from tidemill_testkit.stack import unique_name

START_S = 90
"""How long a start and an orderly stop may take on a busy machine."""


@dataclass(kw_only=True)
class ServiceProcess(ABC):
    """Started, killed and started again on the same stores and topics; a service derives its own.

    The methods block: tests whose event loop serves what the service depends on call them in a thread.
    """

    service: ClassVar[str]
    imports_late: ClassVar[tuple[str, ...]] = ()
    """Modules that its work needs and it imports when work comes, or functions that import them (`module:function`)."""

    stack: Addresses
    folder: Path
    """Where its log is written."""
    database: str = field(default_factory=lambda: unique_name("process"))
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment, beside its settings."""
    port: int = field(default=0, init=False)
    """The gRPC port of the running process."""
    _expects_end: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Prepare to wait for other processes of the run; it is left when the process stops, and kept after a kill."""
        self._sole = SoleMember(self.service)

    @property
    def pid(self) -> int:
        """The id of the running process."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file of everything that it printed, over all its starts."""
        return self.folder / f"{self.service}.log"

    @abstractmethod
    def _settings(self) -> dict[str, str]:
        """Return the service's own settings, by their names without its prefix."""

    def _environment(self) -> dict[str, str]:
        credential = self.folder / f"{self.service}.token"
        credential.write_text(service_token(self.service), encoding="ascii")
        stack = {
            "GRPC_PORT": "0",
            "ACCESS_ISSUERS": installation().setting,
            "ACCESS_CREDENTIAL_FILE": str(credential),
            **self.stack.kafka_settings(f"tidemill-{self.service}"),
            "MONGO_URI": self.stack.mongo,
            "MONGO_DATABASE": self.database,
            "S3_ENDPOINT": self.stack.s3.endpoint,
            "S3_ACCESS_KEY": self.stack.s3.access_key,
            "S3_SECRET_KEY": self.stack.s3.secret_key,
            "LOG_FORMAT": "json",
            "LEASE_TTL_S": "3",  # what was begun before a kill waits for it
        }
        return {f"{self.service.upper()}_{name}": text for name, text in (stack | self._settings()).items()}

    def start(self) -> None:
        """Start it, as soon as no other process of the run has this service, and return when it is ready.

        Raises:
            AssertionError: it could not be imported, has ended or was not ready in time; says what it printed last.
            TimeoutError: it was not imported in time.

        """
        self._sole.take()
        try:
            self._start()
        except BaseException:
            self._sole.leave()
            raise

    def _start(self) -> None:
        began = self.log.stat().st_size if self.log.exists() else 0
        package = f"tidemill_{self.service}"
        call = Call(environment={**os.environ, **self.variables, **self._environment()})
        with self.log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            process = ImportedProgram.start((package, f"{package}.app", *self.imports_late), call, (nothing, log, log))
        assert process is not None, self._last_lines()
        self._process, self._expects_end = process, False
        try:
            self._await_ready(began)
        except BaseException:
            self._expects_end = True
            process.kill()
            process.wait()
            raise

    def _await_ready(self, began: int) -> None:
        deadline = time.monotonic() + START_S
        while True:
            whole, _, _ = self.log.read_bytes()[began:].rpartition(b"\n")  # a line may be half written
            lines = whole.decode().splitlines()
            events = {line["event"]: line for line in (json.loads(each) for each in lines if each.startswith("{"))}
            if "service_ready" in events:
                self.port = events["service_alive"]["grpc_port"]
                return
            assert self._process.poll() is None, "\n".join(lines[-20:])
            assert time.monotonic() < deadline, "\n".join(["it is not ready in time:", *lines[-20:]])
            time.sleep(0.05)

    def kill(self, *, noticed: bool = True) -> None:
        """End it as a power cut would, and so late before its next start that the broker has noticed it, or not.

        Raises:
            AssertionError: it had ended by itself before; says what it printed last.

        """
        ended, expected, self._expects_end = self._process.poll(), self._expects_end, True
        assert ended is None or expected, f"{self.service} had ended by itself with {ended}:\n{self._last_lines()}"
        self._process.kill()
        self._process.wait()
        if noticed:
            with ThreadPoolExecutor(max_workers=1) as apart:  # the caller's thread may run an event loop
                apart.submit(asyncio.run, end_sessions(self.stack.kafka, self.pid)).result()

    def stop(self) -> int:
        """End it in order, and return its exit status."""
        self._expects_end = True
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(START_S)
        finally:
            self._sole.leave()

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
