"""How an evaluation is shown."""

import asyncio

from libs.cli.tests.commands.answers import evaluation
from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED


async def test_clusters_and_slices_are_shown_with_what_they_say(terminal: Terminal, running: Running) -> None:
    done = ev_rpc.GetEvaluationResponse(evaluation=evaluation(EVALUATION_STATE_COMPLETED))
    running.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: done
    terminal.environment["COLUMNS"] = "200"

    shown = (await asyncio.to_thread(terminal, "evaluations", "show", "ev-1")).text

    assert "60 in 20" in shown
    assert "60 questions in 20 clusters (by end_user)" in shown
    files, mail = (line for line in shown.splitlines() if line.startswith("topic="))
    assert files.split()[:7] == ["topic=files", "suite:truth@1", "rouge_l", "30", "in", "12", "0.000"]
    assert (files.split()[-1], mail.split()[-1]) == ("0.012", "few")
    assert "3 more comparisons, of the smallest slices, are left out" in shown
