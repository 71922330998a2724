"""Harnesses that are run and recorded from the command line."""

import asyncio
import gzip
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.commands.harness_answers import MAX_REPORT, HarnessAnswers
from libs.cli.tests.harnesses.reports import garak_eval
from libs.cli.tests.harnesses.test_running import environment
from libs.cli.tests.loop.running import Running
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill_testkit.access import admin_token

GARAK = ("evaluations", "harness", "garak", "quiet", "--probe", "dan.Dan_11_0", "--environment")
PASSES = f"""printf '%s\\n' '{garak_eval(passed=1, total=2)}' > run.report.jsonl"""
"""Also where a version is asked for: it is the script's output, which is none."""


@pytest.fixture
def here(terminal: Terminal, running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    """A terminal whose OpenAI API is known, and a deployment without a rollout."""
    quiet = Deployment(id="quiet")
    quiet.live.digest = "c1"
    running.keepers["deployment"].stored["quiet"] = quiet
    monkeypatch.chdir(tmp_path)
    terminal.environment["TIDEMILL_HTTP_ADDRESS"] = "127.0.0.1:8080"
    return terminal


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("evaluations harness list", ["garak", "0.17.1", "helpdesk", "small@1", "8 of 10"]),
        ("evaluations harness show r1", ["dan.Dan_11_0", "0.800", "[0.490, 0.943]", "95% interval"]),
        ("evaluations harness compare r1 r2", ["-0.400", "[-0.700, -0.100]", "worse", "1 scores of only one run"]),
    ],
)
async def test_recorded_runs_are_listed_shown_and_compared(here: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(here, command, reported)


async def test_a_report_is_saved_and_never_over_a_file(here: Terminal) -> None:
    saved = await asyncio.to_thread(here, "evaluations", "harness", "report", "r1", "report.jsonl")
    again = await asyncio.to_thread(here, "evaluations", "harness", "report", "r1", "report.jsonl")

    assert (saved.code, await asyncio.to_thread(Path("report.jsonl").read_bytes)) == (0, b"hello from garak\n")
    assert (again.code, "does not exist yet" in again.text) == (2, True)


async def test_a_run_is_recorded_with_scores_and_report(
    here: Terminal, harness_runs: HarnessAnswers, tmp_path: Path
) -> None:
    folder = environment(tmp_path / "env", PASSES)

    said = await asyncio.to_thread(here, *GARAK, str(folder), "--keep", "kept")

    assert said.code == 0, said.text
    (request,) = harness_runs.recorded
    run = request.run
    assert (run.deployment, run.configuration, list(run.tests)) == ("quiet", "c1", ["dan.Dan_11_0"])
    assert [each.passed for each in run.scores] == [1]
    assert b"total_evaluated" in gzip.decompress(request.report)
    config = await asyncio.to_thread(Path("kept/garak.yaml").read_text, "utf-8")
    assert "http://127.0.0.1:8080/projects/acme/v1" in config
    assert admin_token() not in config
    assert "not stored" not in said.text


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [
        ("exit 3", (), "HARNESS_STOPPED"),
        ("case $2 in *prctl*) sleep 60;; esac", ("--time-limit", "1"), "HARNESS_TIMED_OUT"),
        ("exit 0", (), "REPORT_UNREADABLE"),
    ],
)
async def test_a_run_without_scores_is_recorded_with_its_reason(  # noqa: PLR0913, PLR0917 - what is tried, and where
    here: Terminal, harness_runs: HarnessAnswers, tmp_path: Path, script: str, options: tuple[str, ...], reason: str
) -> None:
    said = await asyncio.to_thread(here, *GARAK, str(environment(tmp_path / "env", script)), *options)

    assert (said.code, reason in said.text) == (1, True)
    (request,) = harness_runs.recorded
    assert (request.run.reason, list(request.run.scores), request.report) == (reason, [], b"")


async def test_an_environment_that_is_missing_is_recorded(here: Terminal, harness_runs: HarnessAnswers) -> None:
    said = await asyncio.to_thread(here, *GARAK, "nowhere")

    assert (said.code, harness_runs.recorded[0].run.reason) == (1, "HARNESS_MISSING")


async def test_a_report_that_is_too_large_is_left_out(
    here: Terminal, harness_runs: HarnessAnswers, tmp_path: Path
) -> None:
    noise = f'{{"x": "{bytes(range(256)).hex() * 2}'
    lines = "".join(f" '{noise}{number * 7919}\"}}'" for number in range(400))
    folder = environment(tmp_path / "env", PASSES.replace(" > ", f"{lines} > "))

    said = await asyncio.to_thread(here, *GARAK, str(folder))

    assert (said.code, f"{MAX_REPORT} is the limit" in said.text) == (0, True), said.text
    assert [each.report for each in harness_runs.recorded] == [b""]


async def test_a_run_that_cannot_be_recorded_shows_its_scores(
    here: Terminal, harness_runs: HarnessAnswers, tmp_path: Path
) -> None:
    harness_runs.refuses = True

    said = await asyncio.to_thread(here, *GARAK, str(environment(tmp_path / "env", PASSES)))

    assert (said.code, "1 of 2" in said.text, "not recorded" in said.text) == (1, True, True), said.text


async def test_it_is_said_that_a_report_is_not_stored_of_a_deployment_that_changed(
    here: Terminal, harness_runs: HarnessAnswers, tmp_path: Path
) -> None:
    harness_runs.changed = True

    said = await asyncio.to_thread(here, *GARAK, str(environment(tmp_path / "env", PASSES)))

    assert "the report is not stored" in said.text


async def test_a_rollout_has_to_end_first(here: Terminal, harness_runs: HarnessAnswers) -> None:
    said = await asyncio.to_thread(here, "evaluations", "harness", "garak", "helpdesk")

    assert (said.code, "a candidate may answer too" in said.text, harness_runs.recorded) == (1, True, [])


async def test_lm_eval_needs_a_suite_or_a_task(here: Terminal) -> None:
    said = await asyncio.to_thread(here, "evaluations", "harness", "lm-eval", "helpdesk")

    assert (said.code, "--task" in said.text) == (2, True)
