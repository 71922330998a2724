"""How much processor time the tests of a folder may take: a run that takes more fails, and says which folder did.

The budgets stand in the pytest settings (`processor_time_budgets`: a folder and its seconds on each line). Processor
time is that of the test's process and of the child processes that ended in it: how busy the machine is changes it
little, and servers that all tests share do not count.
"""

import os
from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest

_BUDGETS = "processor_time_budgets"
_PROPERTY = "processor_s"
_PLUGIN = "tidemill-budgets"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting."""
    parser.addini(_BUDGETS, "Folders, and the seconds of processor time that their tests may take.", "linelist", [])


def pytest_configure(config: pytest.Config) -> None:
    """Measure in the processes that run tests, and add up in the one that reports."""
    config.pluginmanager.register(Budgets(budgets_of(config.getini(_BUDGETS))), _PLUGIN)


def budgets_of(lines: list[str]) -> dict[str, float]:
    """Return the seconds of each folder.

    >>> budgets_of(["services/rag 40"])
    {'services/rag': 40.0}
    """
    return {folder: float(seconds) for folder, seconds in (line.split() for line in lines)}


@dataclass(slots=True, eq=False)
class Budgets:
    """Adds up what the tests below each folder took, in whatever process they ran."""

    budgets: Mapping[str, float]
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Measure one test with its fixtures."""
        item.user_properties.append((_PROPERTY, _processor_s()))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send with the last report of a test what it took."""
        report = yield
        if call.when == "teardown":
            begin = dict(item.user_properties)[_PROPERTY]
            report.user_properties = [(_PROPERTY, _processor_s() - float(str(begin)))]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what a test took for each folder above it that has a budget."""
        if report.when == "teardown":
            seconds = float(str(dict(report.user_properties).get(_PROPERTY, 0.0)))
            for folder in PurePosixPath(report.nodeid.partition("::")[0]).parents:
                if str(folder) in self.budgets:
                    self.spent[str(folder)] += seconds

    def exceeded(self) -> list[str]:
        """Return a line for each folder that took more than it may."""
        return [
            f"{folder}: its tests took {self.spent[folder]:.0f} s of processor time, its budget is {budget:.0f}"
            for folder, budget in self.budgets.items()
            if self.spent.get(folder, 0) > budget
        ]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that took more, in the process that reports."""
        if self.exceeded() and not hasattr(session.config, "workerinput") and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what each folder took, and what was too much."""
        if self.spent:
            terminalreporter.section("processor time")
            terminalreporter.write_line(
                ", ".join(f"{folder} {seconds:.0f} s" for folder, seconds in sorted(self.spent.items()))
            )
        for line in self.exceeded():
            terminalreporter.write_line(line, red=True)


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
