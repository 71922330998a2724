"""Which tests need servers, and which of them run in one process when a run has several.

A test that starts servers, or uses those of the run, is marked `server`. `--quick` runs the others but for the files
and folders that the setting `heavy_tests` names, and tests marked `heavy`: they load models, train, break processes on
purpose, or take long. What is marked `long` is not run at all without `--long with`, or `--long only`.

A file of tests stays in one process, since its fixtures may be expensive. A folder `process` or `system` does as
well: its tests run the same service, and two processes of one service share its consumer groups, on one broker; or the
same stack. What takes longest begins first, so that all processes end at about the same time: such folders, then
what is heavy or needs servers, then the rest. Fixtures of the scope `package` in such a folder end with its last test.
"""

import sys
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import Scheduling

SERVERS = frozenset({"stack", "stack_folder"})
"""Fixtures that start servers."""
TOGETHER = ("system", "process")
"""Folders whose tests run in one process; the longest first."""

_SLOW = frozenset({"torch"})


class Together(pytest.Package):
    """A folder whose tests run together. pytest takes `package` for the whole run where there is no `__init__.py`."""

    def setup(self) -> None:
        """Import nothing: there is no `__init__.py`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Give fixtures of the scope `package` the folder whose tests share them."""
    return Together.from_parent(parent, path=path) if path.name in TOGETHER else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option and the setting."""
    parser.addoption("--quick", action="store_true", help="run only tests that need no server and take little time")
    parser.addoption("--long", choices=("without", "with", "only"), default="without", help="tests marked long")
    parser.addini("heavy_tests", "Files and folders of tests that --quick leaves out.", "paths", [])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is heavy without importing it, which would load what it tests."""
    heavy = config.getoption("quick") and collection_path in config.getini("heavy_tests")
    return True if heavy else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that imports a library that no quick test may: it takes longer than most of them together."""
    known = _SLOW.isdisjoint(sys.modules)
    report = yield
    if collector.config.getoption("quick") and known and (slow := _SLOW.intersection(sys.modules)):
        report.outcome = "failed"
        report.longrepr = f"it imports {', '.join(slow)}, and no quick test may: name the file in heavy_tests"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need servers, and put those first that take longest."""
    for item in items:
        if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    if left_out := {item for item in items if _is_left_out(item, config)}:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    named = frozenset(config.getini("heavy_tests"))
    heavy_files = {path for path in {item.path for item in items} if not named.isdisjoint((path, *path.parents))}
    heavy = {unit_of(item.nodeid) for item in items if item.path in heavy_files or _marked(item, "server", "heavy")}
    items.sort(key=lambda item: _rank(unit_of(item.nodeid), heavy))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Scheduling":  # noqa: ANN401 - pytest-xdist's
    """Give each process whole units of tests, in the order in which they were collected."""
    from xdist.scheduler.loadscope import LoadScopeScheduling  # noqa: PLC0415 - only there where it calls this

    class Units(LoadScopeScheduling):  # type: ignore[misc] # the library has no types
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return Units(config, log)


def unit_of(nodeid: str) -> str:
    """Return the folder or the file of tests that a test runs with.

    >>> unit_of("services/rag/tests/process/test_process.py::test_it")
    'services/rag/tests/process'
    >>> unit_of("services/rag/tests/domain/test_plan.py::test_it")
    'services/rag/tests/domain/test_plan.py'
    """
    return _unit_of_file(nodeid.partition("::")[0])


@cache
def _unit_of_file(name: str) -> str:
    file = PurePosixPath(name)
    return str(file.parent if file.parent.name in TOGETHER else file)


def _is_left_out(item: pytest.Item, config: pytest.Config) -> bool:
    if config.getoption("quick") and _marked(item, "server", "heavy"):
        return True
    asked: str = config.getoption("long")
    return asked == ("without" if _marked(item, "long") else "only")


def _marked(item: pytest.Item, *names: str) -> bool:
    return any(item.get_closest_marker(name) for name in names)


def _rank(unit: str, heavy: AbstractSet[str]) -> int:
    name = PurePosixPath(unit).name
    return TOGETHER.index(name) if name in TOGETHER else len(TOGETHER) + (unit not in heavy)
