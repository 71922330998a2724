"""Starts, stops and describes the embedded stack of one folder."""

import fcntl
import importlib.util
import json
import platform
import secrets
import shutil
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tidemill_kit.events.acls import read_table, users_of
from tidemill_local import jars, ports
from tidemill_local.addresses import Addresses, write_private
from tidemill_local.errors import DiskFull, NotReady, PortTaken, StackError, Unsupported
from tidemill_local.kafka import ADMIN
from tidemill_local.logs import LogLine, read
from tidemill_local.places import ACLS, HOME, JARS, StackFolder
from tidemill_local.programs import (
    KEEP_FILES,
    NO_TELEMETRY,
    PORT_NAMES,
    SERVERS,
    SERVICES,
    Choices,
    addresses,
    kafka_node,
    servers,
    services,
)
from tidemill_local.supervision import ProcessState, Supervisor, end_left_overs, processes_of

FREE_BYTES = 1_000_000_000
READY_TIMEOUT_S = 180.0

Progress = Callable[[str], None]
"""Gets one plain sentence at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStatus:
    """One program; `state` is in the supervisor's words (RUNNING, BACKOFF, FATAL, STOPPED, ...)."""

    name: str
    state: str
    pid: int
    uptime_s: float
    resident_bytes: int
    endpoints: dict[str, str]
    message: str
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """A stack; `left_over` counts processes that have lost their supervisor: `down` ends them, `up` replaces them."""

    folder: Path
    running: bool
    left_over: int
    programs: tuple[ProgramStatus, ...]


class LocalStack:
    """The stack of one folder. Every method blocks: call it from a thread where an event loop runs."""

    def __init__(
        self,
        folder: Path = HOME,
        *,
        services: bool | Sequence[str] = True,
        jars: Path = JARS,
        open_kafka: bool = False,
    ) -> None:
        """Describe a stack; nothing is started or written.

        `services` is all of them, none, or the named ones. `open_kafka` lets everyone do everything in Kafka, without
        credentials: for tests, which make topics of their own.
        """
        self._folder = StackFolder(folder.resolve())
        self._services = tuple(services) if not isinstance(services, bool) else tuple(SERVICES) if services else ()
        self._jars = jars
        self._open_kafka = open_kafka
        self._supervisor = Supervisor(self._folder)

    @property
    def addresses_file(self) -> Path:
        """The stack.json with the addresses for clients; it exists while the stack is up."""
        return self._folder.addresses

    def up(self, progress: Progress = lambda _: None) -> Addresses:
        """Start what does not run yet, wait until it is ready and return the addresses.

        A stack that runs is left as it is; programs that were given up are started again. Where another process takes a
        port just after it was chosen, the stack starts once more with another one.

        Raises:
            StackError: one sentence that says what to do; what was started keeps running for a look at its log.
        """
        _check_platform()
        self._check_installed()
        self._folder.prepare()
        _check_disk(self._folder.root)
        with self._locked():
            if self._supervisor.is_running():
                return self._ready(self._resume(progress), progress)
            stack = self._start(progress)
            try:
                return self._ready(stack, progress)
            except PortTaken as error:
                progress(str(error))
                self._supervisor.stop()
            return self._ready(self._start(progress), progress)

    def down(self, progress: Progress = lambda _: None) -> bool:
        """Stop every process of the stack and return whether there was one; data stays."""
        if not self._folder.root.exists():
            return False
        with self._locked():
            there = bool(processes_of(self._folder.root))
            if there:
                progress("Stopping")
            self._supervisor.stop()
            self._folder.addresses.unlink(missing_ok=True)
        return there

    def status(self) -> StackStatus:
        """Return what runs, as the supervisor and the operating system see it."""
        running = self._supervisor.is_running()
        states = self._supervisor.states() if running else []
        left_over = 0 if running else len(processes_of(self._folder.root))
        endpoints = _endpoints(addresses(self._folder, self._choices())) if states else {}
        return StackStatus(
            folder=self._folder.root,
            running=running,
            left_over=left_over,
            programs=tuple(self._program(state, endpoints.get(state.name, {})) for state in states),
        )

    def logs(self, name: str | None = None, *, follow: bool = False, lines: int = 100) -> Iterator[LogLine]:
        """Yield the last lines that one program (or each) printed and, if asked to follow, the coming ones.

        Raises:
            StackError: there is no such program.
        """
        known = (*SERVERS, *SERVICES, "supervisord")
        if name is not None and name not in known:
            message = f"There is no program {name}; there are {', '.join(known)}."
            raise StackError(message)
        files = {program: self._folder.log(program) for program in ([name] if name else known)}
        return read(files, follow=follow, lines=lines)

    def _start(self, progress: Progress) -> Addresses:
        if ended := end_left_overs(self._folder.root):
            progress(f"Ended {ended} processes that had lost their supervisor")
        jars.ensure(self._jars, progress)
        choices = self._choose()
        kafka_node(self._folder, choices, self._jars).prepare()
        self._folder.access.write(SERVICES)
        if not choices.open_kafka:
            self._folder.kafka_passwords.ensure([*users_of(read_table(ACLS)), ADMIN])
        for name in ("s3", *KEEP_FILES):
            self._folder.data(name).mkdir(parents=True, exist_ok=True)
        groups = {"servers": servers(self._folder, choices, self._jars), "services": services(self._folder, choices)}
        self._supervisor.start(groups, NO_TELEMETRY)
        stack = addresses(self._folder, choices)
        stack.write(self._folder.addresses)
        return stack

    def _resume(self, progress: Progress) -> Addresses:
        progress(f"Tidemill already runs in {self._folder.root}")
        stack = addresses(self._folder, self._choices())
        stack.write(self._folder.addresses)
        return stack

    def _ready(self, stack: Addresses, progress: Progress) -> Addresses:
        self._run("servers", SERVERS, stack, progress)
        self._run("services", self._services, stack, progress)
        return stack

    def _run(self, group: str, names: Sequence[str], stack: Addresses, progress: Progress) -> None:
        """Start programs of one group and wait until each is ready."""
        from tidemill_local import readiness  # noqa: PLC0415 - the clients of three servers: two seconds to import

        for name in names:
            self._supervisor.run(group, name)
        endpoints = _endpoints(addresses(self._folder, self._choices()))
        watched = ports.Watch(self._choices().ports)
        begin = time.monotonic()

        asked = {name: probe for name, probe in readiness.probes(stack).items() if name in names}
        for ready, waiting in readiness.watch(asked):
            for name in ready:
                where = ", ".join(
                    f"{endpoint} {address}" for endpoint, address in endpoints[name].items() if endpoint != "metrics"
                )
                progress(f"{name} is ready after {time.monotonic() - begin:.1f} s: {where}")
            self._check_alive(waiting, watched)
            if waiting and time.monotonic() - begin > READY_TIMEOUT_S:
                name, reason = next(iter(waiting.items()))
                message = f"{name} is not ready after {READY_TIMEOUT_S:.0f} s ({reason}): see {self._folder.log(name)}."
                raise NotReady(message)

    def _check_alive(self, names: Mapping[str, str], watched: ports.Watch) -> None:
        waiting = [state for state in self._supervisor.states() if state.name in names]
        watched.check({state.name: state.pid for state in waiting})
        for state in waiting:
            if state.has_failed:
                message = (
                    f"{state.name} ends each time it is started ({state.message}): see {self._folder.log(state.name)}."
                )
                raise NotReady(message)

    def _choose(self) -> Choices:
        """Keep the choices of the last start as far as the ports are still free, and write them down."""
        before = json.loads(self._folder.choices.read_text("utf-8")) if self._folder.choices.exists() else {}
        choices = Choices(
            ports=ports.choose(
                PORT_NAMES, requested=ports.requested(), previous=before.get("ports", {}), seed=str(self._folder.root)
            ),
            cluster=before.get("cluster") or urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
            access_key=before.get("access_key") or secrets.token_hex(10),
            secret_key=before.get("secret_key") or secrets.token_hex(20),
            open_kafka=self._open_kafka,
        )
        write_private(self._folder.choices, asdict(choices))
        return choices

    def _choices(self) -> Choices:
        return Choices(**json.loads(self._folder.choices.read_text("utf-8")))

    def _program(self, state: ProcessState, endpoints: dict[str, str]) -> ProgramStatus:
        return ProgramStatus(
            name=state.name,
            state=state.state,
            pid=state.pid,
            uptime_s=max(0.0, time.time() - state.since) if state.since else 0.0,
            resident_bytes=_resident_bytes(state.pid),
            endpoints=endpoints,
            message=state.message,
            log=self._folder.log(state.name),
        )

    def _check_installed(self) -> None:
        for service in self._services:
            if service not in SERVICES:
                message = f"There is no service {service}; there are {', '.join(SERVICES)}."
                raise StackError(message)
            if importlib.util.find_spec(f"tidemill_{service}") is None:
                message = f"Service {service} is not installed: run `make setup`."
                raise StackError(message)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._folder.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"The stack in {self._folder.root} is being started or stopped already: wait for that."
                raise StackError(message) from None
            yield


def _endpoints(stack: Addresses) -> dict[str, dict[str, str]]:
    own = {"kafka": {"kafka": stack.kafka}, "mongo": {"mongo": stack.mongo}, "s3": {"s3": stack.s3.endpoint}}
    return own | {name: dict(endpoints) for name, endpoints in stack.services.items()}


def _resident_bytes(pid: int) -> int:
    """Return the memory of a process and its children."""
    try:
        process = psutil.Process(pid)
        return sum(part.memory_info().rss for part in [process, *process.children(recursive=True)]) if pid else 0
    except psutil.NoSuchProcess:
        return 0


def _check_platform() -> None:
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "aarch64"}:
        message = (
            f"The embedded stack runs on Linux on x86-64 or aarch64, not on {platform.system()} {platform.machine()}:"
            " use docker compose instead."
        )
        raise Unsupported(message)


def _check_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        message = (
            f"Only {free // 1_000_000} MB are free on the disk of {folder} and the stack needs"
            f" {FREE_BYTES // 1_000_000}: free disk space, or choose another folder."
        )
        raise DiskFull(message)
