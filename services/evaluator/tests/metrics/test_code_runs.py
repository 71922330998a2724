"""Code of answers, run with the tests of its case."""

import asyncio
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from services.evaluator.tests.builders import ADA, TUNED, cases, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import Caller
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.metrics import code_sandbox, sandboxed
from tidemill_evaluator.metrics.code_metrics import CodeMetrics
from tidemill_evaluator.metrics.code_sandbox import CodeNotIsolated, CodeNotRun, CodeSandbox
from tidemill_evaluator.metrics.domain.code import CodeLimits, code_in
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair, Scored
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.workers.fair_share import Turns

DOUBLE = "def f(x):\n    return 2 * x"
TESTS = "assert f(2) == 4"
HOSTILE = """
import os, sys
denied = []
for act in (
    lambda: open("/etc/passwd"), lambda: open("/proc/self/environ"), lambda: os.listdir("/"), lambda: os.fork(),
    lambda: os.kill(os.getppid(), 0), lambda: os.execv("/bin/true", ["true"]), lambda: os.pipe(),
    lambda: __import__("time").sleep(9), lambda: __import__("_thread").start_new_thread(print, ()),
    lambda: __import__("socket"), lambda: __import__("subprocess"), lambda: os.open("/tmp/x", os.O_CREAT),
):
    try:
        act()
    except (OSError, ImportError, RuntimeError) as error:
        denied.append(error)
print("said to nobody")
"""
READS_INPUT = f"""
import os, sys
print(sys.stdin.read(), sys.stdout.isatty())
os.write(1, b"done")
{DOUBLE}
"""
LOADS_LATE = r"""
from __future__ import annotations
import csv, logging, time, traceback, unittest, urllib.parse
from datetime import datetime
assert datetime.strptime("2024-01-02", "%Y-%m-%d").year == time.strptime("2024", "%Y").tm_year
assert [name for name in ("cp1252", "utf-16", "idna", "latin-1") if "é".encode(name)]
try:
    unittest.TestCase().assertEqual(urllib.parse.quote("é"), "")
except AssertionError:
    assert "assertEqual" in traceback.format_exc()
logging.warning(r"%s", next(csv.reader(["a,b"])))
x: Unknown = "\d".isdigit()
"""
SEEN = "assert len(denied) == 12, denied; assert {*os.environ} <= {'LC_CTYPE'}; assert __name__ == 'answer'"


class FakeRunner:
    """Implements `ports.CodeRunner`: what defines `f` passes."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.isolates = True
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        if not self.isolates:
            raise CodeNotIsolated

    async def passes(self, caller: Caller, code: str, tests: str) -> Scored:
        assert caller.project
        self.ran.append((code, tests))
        return float("def f" in code)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```py\nx = 1\n```\n```\n$ ls\n```\n~~~python3\ny = 2\n~~~", "x = 1\ny = 2"),
        ("```\nx = 1\n```", "x = 1"),
        ("```bash\nls\n```", ""),
        ("x = 1", "x = 1"),
        ("```python\nx = 1", "x = 1"),  # cut
        ("  ```Python title=a\n  x = 1\n  ```", "  x = 1"),
        ("```python\ns = '''\n```a\n'''\n```", "s = '''\n```a\n'''"),
    ],
)
def test_the_code_of_an_answer_is_its_blocks_of_python(text: str, code: str) -> None:
    assert code_in(text) == code


@pytest.mark.heavy
async def test_code_can_compute_and_nothing_else_and_passes_only_where_all_its_tests_have_run() -> None:
    sandbox = CodeSandbox(turns=Turns(4), limits=CodeLimits())

    found = await asyncio.gather(
        *(
            sandbox.passes(ADA, code, tests)
            for code, tests in (
                (HOSTILE, SEEN),
                (DOUBLE, "assert f(2) == 5"),
                ("import os\nos._exit(0)", ""),
                ("[0] * 10**9", ""),
                (DOUBLE, "assert ("),
                ("import sys\nsys.exit(97)", "assert False"),
                ("import sys\nsys.exit(98)", "assert False"),
                (READS_INPUT, "assert f(2) == 4"),
                (LOADS_LATE, "import unittest, os.path\nfrom collections.abc import Set"),
                (DOUBLE, "try:\n    import numpy\nexcept ImportError:\n    assert f(2) == 4"),
                (DOUBLE, "import numpy"),
                (DOUBLE, "from answer import f"),
            )
        )
    )

    assert found == [1.0, 0.0, 0.0, 0.0, None, 0.0, 0.0, 1.0, 1.0, 1.0, None, None]


async def test_a_program_that_waits_for_nothing_fails_once_it_has_waited_as_long_as_it_may_compute() -> None:
    sandbox = CodeSandbox(turns=Turns(1), limits=CodeLimits(cpu_s=1))

    with structlog.testing.capture_logs() as logs:
        assert await sandbox.passes(ADA, "import queue\nqueue.Queue().get()", "") == 0.0
    assert logs == []


def test_where_the_kernel_cannot_isolate_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    assert not sandboxed.isolate()


async def test_without_leave_of_the_operator_code_is_refused_where_it_is_asked_for_and_else_left_out() -> None:
    metrics, case = CodeMetrics(None), replace(cases(1)[0], code_tests=TESTS)

    for asked in (metrics.check(ADA, ["code_runs"], gating=True), metrics.pin(ADA, [], answering=[], gating=False)):
        with pytest.raises(NoVerdict, match="EVALUATOR_RUN_CODE=true") as refused:
            await asked
        assert refused.value.reason == "CODE_UNAVAILABLE"
    scores = await metrics.scores(ADA, ["code_runs"], Pair(case=case, baseline=None, candidate=GivenAnswer(text="x")))
    assert (scores.baseline, scores.candidate) == ({}, {})


async def test_a_machine_that_cannot_isolate_refuses_what_asks_for_it_and_leaves_out_what_does_not() -> None:
    runner = FakeRunner()
    runner.isolates = False
    metrics = CodeMetrics(runner)
    case = replace(cases(1)[0], code_tests=TESTS)

    with pytest.raises(NoVerdict, match="no seccomp filters"):
        await metrics.pin(ADA, ["code_runs"], answering=[], gating=True)
    scores = await metrics.scores(ADA, ["code_runs"], Pair(case=case, baseline=None, candidate=GivenAnswer(text="x")))

    assert (scores.baseline, scores.candidate, runner.ran) == ({}, {}, [])


async def test_a_machine_that_runs_code_is_asked_once() -> None:
    runner = FakeRunner()
    metrics = CodeMetrics(runner)

    await asyncio.gather(*(metrics.check(ADA, ["code_runs"], gating=True) for _ in range(3)))

    assert (runner.checks, runner.ran) == (1, [])


async def test_where_a_program_that_does_nothing_fails_no_answer_is_judged_and_no_turn_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Turns(1)

    async with turns.of(ADA.project):
        await CodeSandbox(turns=turns, limits=CodeLimits()).check()
        monkeypatch.setattr(code_sandbox, "_PROGRAM", Path("/nowhere"))
        with pytest.raises(CodeNotRun, match="EVALUATOR_CODE_MEMORY_BYTES"):
            await CodeSandbox(turns=turns, limits=CodeLimits()).check()


async def test_cases_with_tests_are_compared_by_them_though_no_request_asks_for_it() -> None:
    runner = FakeRunner()
    evaluator = Evaluator(families=[CodeMetrics(runner)])
    given = [replace(each, reference="", code_tests=TESTS) for each in cases(2)]
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), given, write())
    evaluator.inference.says[TUNED, given[0].question] = f"Sure:\n```python\n{DOUBLE}\n```"
    evaluator.inference.says[TUNED, given[1].question] = "```bash\nls\n```"

    done = await evaluator.finish(await evaluator.by_hand())

    (found,) = [each for each in done.comparisons if each.metric == "code_runs"]
    assert (found.cases, found.baseline, found.candidate) == (2, 0.0, 0.5)
    assert (DOUBLE, TESTS) in runner.ran
