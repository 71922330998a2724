"""Judges that are measured from the command line."""

import asyncio

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.judge_answers import JUDGE
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import judge_pb2 as pb

MEASURE = ("judges", "measure", "tone", "--queue", "answers", "--field", "right")


def judge(state: pb.JudgeMeasurementState.ValueType, message: str = "") -> pb.Judge:
    found = pb.Judge()
    found.CopyFrom(JUDGE)
    found.measurement.queue, found.measurement.field = "answers", "right"
    found.measurement.state, found.measurement.message = state, message
    return found


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (judge(pb.JUDGE_MEASUREMENT_STATE_COMPLETED), 0, "0.71 [0.52, 0.90] of 60 answers, by cohen kappa"),
        (judge(pb.JUDGE_MEASUREMENT_STATE_FAILED, "review more"), 1, "failed, answers.right: review more"),
    ],
)
async def test_a_measurement_is_waited_for_and_shown(
    terminal: Terminal, running: Running, found: pb.Judge, code: int, said: str
) -> None:
    running.keepers["judge"].stored["tone"] = found

    shown = await asyncio.to_thread(terminal, *MEASURE)
    begun = await asyncio.to_thread(terminal, *MEASURE, "--no-wait", "--json")

    assert (shown.code, begun.code) == (code, 0)
    assert said in " ".join(shown.text.split())
    assert begun.data["measurement"]["state"] == "JUDGE_MEASUREMENT_STATE_RUNNING"


async def test_a_judge_that_drifted_says_what_to_do(terminal: Terminal, running: Running) -> None:
    found = judge(pb.JUDGE_MEASUREMENT_STATE_COMPLETED)
    found.drift.checked, found.drift.repeated_scores, found.drift.drifted = 10, 6, True
    running.keepers["judge"].stored["tone"] = found

    shown = await asyncio.to_thread(terminal, "judges", "show", "tone")

    assert "drifted: measure it again (6 of 10 judgements repeated)" in " ".join(shown.text.split())


async def test_an_agreement_of_an_earlier_version_is_called_so(terminal: Terminal, running: Running) -> None:
    found = judge(pb.JUDGE_MEASUREMENT_STATE_COMPLETED)
    found.version = 3
    running.keepers["judge"].stored["tone"] = found

    for command in (("list",), ("show", "tone")):
        shown = await asyncio.to_thread(terminal, "judges", *command)
        assert "an earlier version: 0.71 [0.52, 0.90] of 60" in " ".join(shown.text.split())


async def test_a_judge_is_added_by_a_template(terminal: Terminal, running: Running) -> None:
    command = ("judges", "add", "grounded", "--deployment", "grader", "--template")

    added = await asyncio.to_thread(terminal, *command, "faithfulness")
    refused = await asyncio.to_thread(terminal, *command, "truth")

    stored = running.keepers["judge"].stored["grounded"]
    assert (added.code, refused.code) == (0, 2)
    assert isinstance(stored, pb.Judge)
    assert (stored.deployment, stored.criteria[0].name, list(stored.reads)) == (
        "grader",
        "faithfulness",
        [pb.JUDGE_INPUT_PASSAGES],
    )
    assert "use one of faithfulness, answer_relevance" in " ".join(refused.text.split())
