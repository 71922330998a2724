"""Runs tests in several processes that are forked once all are collected: `--processes 3`.

What the tests import is imported once, and its memory is shared; so is what the setting `shared_imports` names, which
tests of some folders, or what they test, import when they need it. Each process takes the next unit of tests (see
`distribution`) when it is done with one. What was collected here decides: a test without a last report fails, and so
does a process that ends in another way than agreed. Another one takes its place, a few times.
"""

import faulthandler
import gc
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from _pytest.unraisableexception import collect_unraisable

from tidemill_testkit.distribution import unit_of

STOPPED_WITHIN_S = 60
"""How long a process has to end what its fixtures have started."""
MAX_REPLACED = 5
"""How many processes of a run are replaced: where one cannot begin, the next one seldom can."""
_NUMBER_BYTES = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option and the setting."""
    parser.addini("shared_imports", "A folder, and a module that several units below it import late.", "linelist", [])
    parser.addoption("--processes", type=int, default=1, metavar="N", help="run the tests in this many processes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the units in processes; pytest runs them here where there is one of either, or collection has failed."""
    options = session.config.option
    by_name: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        by_name.setdefault(unit_of(item.nodeid), []).append(item)
    units = list(by_name.values())
    count = min(options.processes, len(units))
    if count < 2 or options.collectonly or options.usepdb or session.testsfailed:  # noqa: PLR2004 - one is none beside
        return None
    for folder, module in map(str.split, session.config.getini("shared_imports")):
        if sum(name.startswith(folder) for name in by_name) > 1:
            importlib.import_module(module)
    gc.freeze()
    assert threading.active_count() == 1, f"imports have started threads, and a fork has none: {threading.enumerate()}"
    with tempfile.TemporaryFile(buffering=0) as numbers:
        numbers.write(b"".join(number.to_bytes(_NUMBER_BYTES) for number in range(len(units))))
        numbers.seek(0)
        Run(session, units, numbers).run(count)
    return True


@dataclass(frozen=True)
class Called:
    """A hook that pytest called in a process, with what it was given."""

    hook: str
    given: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A process has no more to do, or could not go on or end its fixtures."""

    failure: str = ""


@dataclass(eq=False)
class Worker:
    """A process, and whether it has said that it ends."""

    process: ForkProcess
    reader: Connection
    has_ended: bool = False


class Run:
    """The processes of one run. The numbers of the units lie in a file whose offset they share."""

    def __init__(self, session: pytest.Session, units: list[list[pytest.Item]], numbers: BinaryIO) -> None:
        self._session, self._units, self._numbers = session, units, numbers
        self._unreported = {item.nodeid: item for item in session.items}
        self._workers: list[Worker] = []
        self._replaced = 0
        self._temporary = session.config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001 - a fixture elsewhere
        self._temporary.getbasetemp()  # makes the folder that those of the processes are in

    def run(self, count: int) -> None:
        """Report what the processes report until all have ended, and fail what none has reported."""
        try:
            for _ in range(count):
                self._start()
            while self._workers:
                ready = wait([worker.reader for worker in self._workers])
                for worker in [worker for worker in self._workers if worker.reader in ready]:
                    self._receive(worker)
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
            for item in self._unreported.values():
                self._fail("it has no report: it was not run, or its process ended before", item.nodeid, item.location)
        finally:
            self._stop()

    def _start(self) -> None:
        context = get_context("fork")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=self._work, args=(writer,))
        process.start()
        writer.close()
        self._workers.append(Worker(process, reader))

    def _receive(self, worker: Worker) -> None:
        try:
            received = worker.reader.recv()
        except (EOFError, OSError):  # the latter within a message
            self._end(worker)
            return
        match received:
            case list():
                for called in received:
                    self._call(called.hook, called.given)
            case Ended(failure):
                worker.has_ended = True
                if failure:
                    self._fail(failure)

    def _call(self, name: str, given: dict[str, Any]) -> None:
        config = self._session.config
        if name == "pytest_runtest_logreport":
            report = config.hook.pytest_report_from_serializable(config=config, data=given["report"])
            if report.when == "teardown":
                self._unreported.pop(report.nodeid, None)
            given = {"report": report}
        hook = getattr(config.hook, name)
        if hook.is_historic():
            hook.call_historic(kwargs=given)
        else:
            hook(**given)

    def _end(self, worker: Worker) -> None:
        """Fail the run where a process did not end as agreed, and let another one take its place."""
        worker.reader.close()
        self._workers.remove(worker)
        _join(worker.process)
        if worker.has_ended and worker.process.exitcode == 0:
            return
        self._fail(f"it ended with the status {worker.process.exitcode}")
        if self._replaced < MAX_REPLACED:
            self._replaced += 1
            self._start()

    def _fail(
        self, message: str, nodeid: str = "a process", location: tuple[str, int | None, str] = ("", None, "")
    ) -> None:
        report = pytest.TestReport(nodeid, location, {}, "failed", message, "call")
        self._session.config.hook.pytest_runtest_logreport(report=report)

    def _stop(self) -> None:
        """End what still runs, with what its fixtures have started."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            _join(worker.process)

    def _work(self, writer: Connection) -> None:
        """Run units until there are no more: the process's own part."""
        os.register_at_fork(after_in_child=writer.close)  # a fork that outlives this process would hide its end
        stderr = _have_own_streams(self._session.config)
        signal.signal(signal.SIGINT, _leave_to_the_run)
        folder = self._temporary.mktemp(f"p{os.getpid()}", numbered=False)
        self._temporary._basetemp = folder  # noqa: SLF001 - two processes would make the same folders
        forwarding = _Forwarding(self._session.config, writer)
        self._session.config.pluginmanager.register(forwarding)
        forwarding.calls.clear()  # pytest has repeated each warning that came before
        failure = ""
        try:
            for number in self._taken():
                self._run_unit(self._units[number])
        except Exception:  # noqa: BLE001 - of pytest itself
            failure = traceback.format_exc()
        finally:
            faulthandler.dump_traceback_later(STOPPED_WITHIN_S, exit=True, file=stderr)
            ended = pytest.CallInfo.from_call(self._end_session, "teardown")
        forwarding.flush()
        if ended.excinfo:
            failure = failure or f"{ended.excinfo.exconly()}\n{ended.excinfo.getrepr()}"
        writer.send(Ended(failure))
        writer.close()

    def _end_session(self) -> None:
        """Do what pytest does at its end."""
        self._session._setupstate.teardown_exact(None)  # noqa: SLF001 - there is no other way
        gc.collect()
        collect_unraisable(self._session.config)

    def _taken(self) -> Iterator[int]:
        """Yield the numbers that no other process has read."""
        while number := os.read(self._numbers.fileno(), _NUMBER_BYTES):
            yield int.from_bytes(number)

    def _run_unit(self, items: list[pytest.Item]) -> None:
        # What comes after the last test shares the fixtures of the session with it, and no others.
        for item, following in zip(items, [*items[1:], self._session], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


class _Forwarding:
    """Sends what pytest reports in a process to the run."""

    def __init__(self, config: pytest.Config, writer: Connection) -> None:
        self._config, self._writer = config, writer
        self.calls: list[Called] = []
        """Those that were not sent yet."""

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._send("pytest_runtest_logstart", nodeid=nodeid, location=location)

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._send("pytest_runtest_logfinish", nodeid=nodeid, location=location)
        self.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._send("pytest_runtest_logreport", report=data)

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        text, category = str(warning_message.message), warning_message.category
        if category.__module__ not in sys.stdlib_module_names:  # may be one that cannot be sent
            text, category = f"{category.__name__}: {text}", UserWarning
        plain = warnings.WarningMessage(text, category, warning_message.filename, warning_message.lineno)
        self._send("pytest_warning_recorded", warning_message=plain, when=when, nodeid=nodeid, location=location)

    def _send(self, hook: str, **given: object) -> None:
        self.calls.append(Called(hook, given))

    def flush(self) -> None:
        """Send what was called since the last time: all of a test at once, for each message costs both sides."""
        self._writer.send(self.calls)
        self.calls.clear()


def _have_own_streams(config: pytest.Config) -> int:
    """Capture into files of the process's own, print nothing, as the run prints what is reported, and return stderr."""
    capturing = config.pluginmanager.getplugin("capturemanager")
    capturing.stop_global_capturing()
    stderr = os.dup(2)
    capturing.start_global_capturing()
    config.get_terminal_writer()._file = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, SLF001 - to its end
    return stderr


def _leave_to_the_run(*_: object) -> None:
    """Ctrl-C reaches all processes at once; the one that began the run ends the others."""


def _join(process: ForkProcess) -> None:
    end = time.monotonic() + STOPPED_WITHIN_S
    while process.is_alive() and time.monotonic() < end:  # join with a limit waits for forks of the process, too
        time.sleep(0.005)
    process.kill()
    process.join()
