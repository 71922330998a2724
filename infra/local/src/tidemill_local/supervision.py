"""Keeps the programs of a stack running by supervisord, and finds every process that belongs to it."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.states import ProcessStates, getProcessStateDescription
from supervisor.xmlrpc import SupervisorTransport

from tidemill_local.errors import StackError
from tidemill_local.places import StackFolder
from tidemill_local.programs import SERVERS, SERVICES, Program

MARK = "TIDEMILL_STACK_FOLDER"
"""In the environment of every process of a stack, so that those whose supervisor was killed are found as well."""

POLL_S = 0.1
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 45.0

HEADER = """\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={log}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={pidfile}
umask=077
nocleanup=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

SECTION = """
[program:{name}]
command={command}
environment={environment}
autostart=false
autorestart=true
startsecs=3
startretries=10
stopwaitsecs={stop_within_s}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""

GROUP = """
[group:{name}]
programs={programs}
priority={priority}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What the supervisor says of one program; `pid` and `since` are 0 while it does not run."""

    name: str
    state: str
    pid: int
    since: float
    message: str

    @property
    def has_failed(self) -> bool:
        """Return whether the supervisor gave it up."""
        return self.state == "FATAL"


class Supervisor:
    """One stack's supervisord."""

    def __init__(self, folder: StackFolder) -> None:
        """Talk about the stack of a folder."""
        self._folder = folder
        self._socket = folder.socket("supervisor")
        self._config = folder.config / "supervisord.conf"

    def is_running(self) -> bool:
        """Return whether the supervisor answers."""
        try:
            return bool(self._rpc().getState()["statename"] == "RUNNING")
        except (OSError, HTTPException):
            return False

    def start(self, groups: Mapping[str, Sequence[Program]], environment: Mapping[str, str]) -> None:
        """Start the supervisor; it starts no program by itself. Groups stop in the reverse of their order.

        Raises:
            StackError: it did not start.
        """
        self._write_config(groups)
        marked = {**os.environ, **environment, MARK: str(self._folder.root)}
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        done = subprocess.run(command, env=marked, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        deadline = time.monotonic() + START_TIMEOUT_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.is_running():
                return
            time.sleep(POLL_S)
        message = f"The supervisor did not start ({done.stderr.strip()[-300:]}): see {self._folder.log('supervisord')}."
        raise StackError(message)

    def run(self, group: str, program: str) -> None:
        """Start one program unless it runs or is being started."""
        try:
            self._rpc().startProcess(f"{group}:{program}", False)  # noqa: FBT003 - XML-RPC has no keywords: do not wait
        except Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                message = f"{program} cannot be started: {fault.faultString}."
                raise StackError(message) from fault

    def states(self) -> list[ProcessState]:
        """Return every program's state, in the order of the table of programs."""
        order = [*SERVERS, *SERVICES]
        infos = sorted(self._rpc().getAllProcessInfo(), key=lambda info: order.index(info["name"]))
        return [
            ProcessState(
                name=info["name"],
                state=str(getProcessStateDescription(info["state"])),
                pid=info["pid"],
                since=float(info["start"]) if info["state"] == ProcessStates.RUNNING else 0.0,
                message=info["spawnerr"] or info["description"],
            )
            for info in infos
        ]

    def stop(self) -> None:
        """Stop every program and the supervisor; return when no process of the stack is left."""
        if self.is_running():
            stopping = processes_of(self._folder.root)
            self._rpc().shutdown()
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while any(map(_runs, stopping)) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        end_left_overs(self._folder.root)
        self._socket.unlink(missing_ok=True)

    def _write_config(self, groups: Mapping[str, Sequence[Program]]) -> None:
        text = HEADER.format(
            socket=_escaped(self._socket),
            log=_escaped(self._folder.log("supervisord")),
            pidfile=_escaped(self._folder.config / "supervisord.pid"),
        )
        for priority, (group, programs) in enumerate(groups.items()):
            text += GROUP.format(name=group, programs=",".join(program.name for program in programs), priority=priority)
            text += "".join(self._section(program) for program in programs)
        self._config.touch(mode=0o600)
        self._config.write_text(text, encoding="utf-8")

    def _section(self, program: Program) -> str:
        pairs = (f'{name}="{_escaped(value)}"' for name, value in sorted(program.environment.items()))
        return SECTION.format(
            name=program.name,
            command=_escaped(shlex.join(program.command)),
            environment=",".join(pairs),
            stop_within_s=program.stop_within_s,
            log=_escaped(self._folder.log(program.name)),
        )

    def _rpc(self) -> Any:  # noqa: ANN401 - XML-RPC answers anything
        return ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport(serverurl=f"unix://{self._socket}")
        ).supervisor


def processes_of(folder: Path, *, mark: str = MARK) -> list[psutil.Process]:
    """Return every running process of the stack of a folder, by the processes' environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(mark) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    return [process for process in found if process.pid != os.getpid()]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_left_overs(folder: Path, *, mark: str = MARK) -> int:
    """Kill what is left of a stack and return how many processes that were: their data survives a kill."""
    left = processes_of(folder, mark=mark)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=10)
    return len(left)


def _escaped(value: object) -> str:
    # supervisord expands %(name)s in its file.
    return str(value).replace("%", "%%")
