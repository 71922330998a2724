"""Commands report truncated results, and resources that do not exist yet."""

import asyncio
import re
from pathlib import Path

from libs.cli.tests.commands.answers import training_run
from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.monitor.v1.lineage_pb2 import TimelineEntry
from tidemill.monitor.v1.lineage_service_pb2 import GetTimelineResponse
from tidemill.trainer.v1.training_service_pb2 import ListTrainingRunsResponse
from tidemill_cli.lineage import KINDS

PROTOS = Path(__file__).parents[4] / "protos"


def test_the_help_of_lineage_names_every_kind_that_the_contract_does() -> None:
    contract = (PROTOS / "tidemill/monitor/v1/lineage.proto").read_text(encoding="utf-8")
    (reported,) = re.findall(r"// (.*)\n  string kind = 1;", contract)

    assert set(re.findall(r"\w+", KINDS)) - {"or"} == set(re.findall(r'"(\w+)"', reported))


async def test_a_time_line_that_was_cut_says_so(terminal: Terminal, running: Running) -> None:
    entries = [TimelineEntry(message="it is live")]
    running.answers["monitor.v1.lineage_service:GetTimeline"] = lambda _: GetTimelineResponse(entries=entries, cut=True)

    people = await asyncio.to_thread(terminal, "rollouts", "timeline", "helpdesk")
    programs = await asyncio.to_thread(terminal, "rollouts", "timeline", "helpdesk", "--json")

    assert "it is live" in people.text
    assert "oldest entries omitted" in people.text
    assert programs.data["cut"]


async def test_a_run_that_has_logged_no_loss_shows_none(terminal: Terminal, running: Running) -> None:
    first, second = training_run(), training_run()
    first.progress.ClearField("loss")
    second.progress.loss = 0.0
    answer = ListTrainingRunsResponse(runs=[first, second])
    running.answers["trainer.v1.training_service:ListTrainingRuns"] = lambda _: answer

    people = await asyncio.to_thread(terminal, "training", "runs")
    programs = await asyncio.to_thread(terminal, "training", "runs", "--json")

    _, none, zero = people.text.strip().splitlines()
    assert ("0.000" in none, "0.000" in zero) == (False, True)
    assert ["loss" in run["progress"] for run in programs.data["runs"]] == [False, True]
