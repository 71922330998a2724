"""Trainings that a judge rewards: what a preview says, and what is shown of a run."""

import asyncio

from libs.cli.tests.commands.answers import training_run
from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.trainer.v1 import training_pb2 as tr
from tidemill.trainer.v1 import training_service_pb2 as tr_rpc


async def test_a_preview_starts_nothing_and_says_how_often_the_judge_would_be_called(
    terminal: Terminal, running: Running
) -> None:
    asked: list[tr_rpc.StartTrainingRunRequest] = []

    def preview(request: tr_rpc.StartTrainingRunRequest) -> tr_rpc.StartTrainingRunResponse:
        asked.append(request)
        run = tr.TrainingRun(id="run-1", judge_version="tone@2-0123456789ab", estimated_judge_calls=240)
        return tr_rpc.StartTrainingRunResponse(run=run)

    running.answers["trainer.v1.training_service:StartTrainingRun"] = preview

    said = await asyncio.to_thread(terminal, "training", "start", "judged", "--dry-run", "--wait")

    assert (said.code, [each.validate_only for each in asked]) == (0, [True])
    assert "tone@2-0123456789ab, 0 of up to 240 calls" in " ".join(said.text.split())


async def test_a_run_shows_what_its_judge_was_asked_and_did_not_score(terminal: Terminal, running: Running) -> None:
    found = training_run()
    found.judge_version, found.estimated_judge_calls = "tone@2-0123456789ab", 240
    found.progress.judge_calls, found.progress.judged_answers, found.progress.unscored_answers = 80, 80, 3
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda _: tr_rpc.GetTrainingRunResponse(run=found)

    said = await asyncio.to_thread(terminal, "training", "show", "run-1")

    assert "80 of up to 240 calls, 3 of 80 answers without a score" in " ".join(said.text.split())
