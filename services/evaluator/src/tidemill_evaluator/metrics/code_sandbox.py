"""Runs code of answers in child processes that can only compute."""

import asyncio
import json
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from tidemill_core.application import Caller
from tidemill_core.errors import PreconditionFailed
from tidemill_evaluator.metrics.domain.code import CodeLimits
from tidemill_evaluator.metrics.domain.metric import Scored
from tidemill_evaluator.metrics.sandboxed import NOT_ISOLATED, READY
from tidemill_kit.workers.fair_share import Turns

_PROGRAM = Path(__file__).with_name("sandboxed.py")
_WALL_SHARE = 12
"""Of the processor time: how long it may take on a busy machine."""
_CHECKS = 5
"""In the processor time that a program may take; seen waiting so often, it is taken for one that waits for ever."""
_WORD_CHARS = 64
_log = structlog.get_logger(__name__)


class CodeNotIsolated(PreconditionFailed):
    """The kernel cannot keep a process from files and connections."""

    reason = "CODE_NOT_ISOLATED"

    def __init__(self) -> None:
        super().__init__(
            "code_runs cannot be computed: this machine has no seccomp filters for x86_64 or aarch64, which keep code "
            "from files and connections: run the evaluator on Linux, with seccomp allowed"
        )


class CodeNotRun(PreconditionFailed):
    """A program that does nothing does not pass."""

    reason = "CODE_NOT_RUN"

    def __init__(self) -> None:
        super().__init__(
            "code_runs cannot be computed: a program that does nothing does not come to its end: raise "
            "EVALUATOR_CODE_MEMORY_BYTES or EVALUATOR_CODE_CPU_S, or try again when the machine has less to do"
        )


@dataclass(slots=True)
class _Said:
    """What a process said: what became of it before any code of an answer ran, and the word that it said at its end."""

    first: bytes = b""
    word: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSandbox:
    """Implements `ports.CodeRunner`: a fresh interpreter for each program, with no environment and no packages."""

    turns: Turns
    limits: CodeLimits

    async def check(self) -> None:
        """See `CodeRunner.check`; it takes no project's turn."""
        if await self._passes("", "") != 1.0:
            raise CodeNotRun

    async def passes(self, caller: Caller, code: str, tests: str) -> Scored:
        """See `CodeRunner.passes`."""
        async with self.turns.of(caller.project):
            return await self._passes(code, tests)

    async def _passes(self, code: str, tests: str) -> Scored:
        limits, word = self.limits, secrets.token_hex(_WORD_CHARS // 2)
        asked = json.dumps(
            {"code": code, "tests": tests, "cpu_s": limits.cpu_s, "memory_bytes": limits.memory_bytes}
        ).encode()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", str(_PROGRAM)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
        said = _Said()
        talking = asyncio.create_task(_talk(process, b"%010d%b%b" % (len(asked), asked, word.encode()), said))
        try:
            in_time = await self._ends(process, talking, said)
        finally:
            talking.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()
        if said.first == NOT_ISOLATED:
            raise CodeNotIsolated
        if said.first != READY:
            return None
        if said.word == word.encode():
            return 1.0
        return 0.0 if in_time else None

    async def _ends(self, process: asyncio.subprocess.Process, talking: asyncio.Task[None], said: _Said) -> bool:
        """Return whether a program ends, or waits for what never comes, before it took too long for the machine."""
        seen_waiting = 0
        for _ in range(_WALL_SHARE * _CHECKS):
            done, _pending = await asyncio.wait({talking}, timeout=self.limits.cpu_s / _CHECKS)
            if done:
                await talking
                return True
            seen_waiting += said.first == READY and _waits(process.pid)
            if seen_waiting == _CHECKS:
                return True
        if seen_waiting:
            return True
        _log.warning("code_not_run", cause="wall")
        return False


def _waits(pid: int) -> bool:
    """Return whether a process sleeps: what computes does not, however little the machine gives it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["S"]


async def _talk(process: asyncio.subprocess.Process, given: bytes, said: _Said) -> None:
    given_to, said_by = process.stdin, process.stdout
    if given_to is None or said_by is None:
        return
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        given_to.write(given)
        await given_to.drain()
        given_to.close()
        said.first = await said_by.readexactly(1)
        said.word = await said_by.readexactly(_WORD_CHARS)
    await process.wait()
