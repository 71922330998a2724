"""Sweeps are created of what is typed, and shown as a table and as a page."""

import asyncio
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.commands.sweep_answers import SPACE, sweep
from libs.cli.tests.loop.running import Running
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1 import sweep_service_pb2 as rpc


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("sweeps list --plan helpdesk_lora", ["rates", "succeeded", "3/3", "1.5000", "helpdesk_lora@3"]),
        ("sweeps show rates", ["trial 1, run run-9", "1.25", "1800 s", "1 *", "2.0000 1.5000", "failed: DIVERGED"]),
        ("sweeps cancel rates", ["cancelled"]),
        ("sweeps delete rates", ["rates is deleted"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


async def test_a_sweep_is_created_of_ranges_and_choices(terminal: Terminal) -> None:
    typed = "sweeps create rates --plan helpdesk_lora -s args.learning_rate=1e-5..1e-2:log -s lora.r=[4,8] --hours 0.5"

    said = await asyncio.to_thread(terminal, *typed.split(), "--json")

    assert said.code == 0, said.text
    assert (said.data["space"], said.data["budget"]["time"], said.data["max_trials"]) == (SPACE, "1800s", 12)


async def test_a_sweep_is_created_with_all_its_settings(terminal: Terminal) -> None:
    typed = "sweeps create rates --plan helpdesk_lora -s lora.r=[4,8] --held-out 0.3 --measurements 7"
    more = "--startup-trials 4 --warmup-measurements 2 --label team=help"

    said = await asyncio.to_thread(terminal, *typed.split(), *more.split(), "--json")

    assert said.code == 0, said.text
    assert (said.data["held_out"], said.data["measurements"], said.data["labels"]) == (0.3, 7, {"team": "help"})
    assert (said.data["pruning"]["startup_trials"], said.data["pruning"]["warmup_measurements"]) == (4, 2)


@pytest.mark.parametrize("search", ["lora.r", "lora.r=4..", "lora.r=[4,", "lora.r=8"])
async def test_another_form_of_what_is_searched_is_refused_with_the_right_one(terminal: Terminal, search: str) -> None:
    said = await asyncio.to_thread(terminal, "sweeps", "create", "rates", "--plan", "helpdesk_lora", "-s", search)

    assert said.code == 1
    assert "args.learning_rate=1e-5..1e-3:log" in said.text


@pytest.mark.parametrize(("state", "code"), [(pb.SWEEP_STATE_SUCCEEDED, 0), (pb.SWEEP_STATE_FAILED, 1)])
async def test_a_sweep_that_is_waited_for_ends_with_its_exit_code(
    terminal: Terminal, running: Running, state: pb.SweepState.ValueType, code: int
) -> None:
    running.answers["trainer.v1.sweep_service:GetSweep"] = lambda _: rpc.GetSweepResponse(sweep=sweep(state))

    said = await asyncio.to_thread(
        terminal, *["sweeps", "create", "rates", "--plan", "helpdesk_lora", "-s", "lora.r=[4,8]", "--wait"]
    )

    assert said.code == code, said.text


@pytest.mark.heavy
async def test_the_page_of_a_sweep_has_its_trials_and_nothing_from_elsewhere(
    terminal: Terminal, tmp_path: Path
) -> None:
    said = await asyncio.to_thread(terminal, "sweeps", "show", "rates", "--html", str(tmp_path / "rates.html"))

    page = (tmp_path / "rates.html").read_text()
    assert said.code == 0
    assert page.count("<svg") == 2
    assert "failed: DIVERGED" in page
    assert "<script" not in page
    assert 'src="' not in page
