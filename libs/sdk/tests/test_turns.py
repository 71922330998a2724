"""The half of the client that turns a loop, against services in the middle of a turn."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from libs.cli.tests.commands.answers import ANSWERS, declared, evaluation, training_run
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED, VERDICT_FAILED, Evaluation
from tidemill.feedback.v1 import feedback_service_pb2 as fb_rpc
from tidemill.inference.v1.rollout_pb2 import ROLLOUT_STATE_PROMOTED
from tidemill.trainer.v1 import training_service_pb2 as tr_rpc
from tidemill.trainer.v1.training_pb2 import TRAINING_RUN_STATE_SUCCEEDED
from tidemill_client import Rater, Tidemill
from tidemill_core.errors import DeadlineExceeded
from tidemill_testkit.access import admin_token

if TYPE_CHECKING:
    from tidemill.feedback.v1.feedback_pb2 import Feedback


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr("tidemill_client.waiting.POLL_S", 0.01)
    services = Running()
    services.answers.update(ANSWERS)
    declared(services)
    services.start()
    yield services
    services.stop()


@pytest.fixture
async def client(running: Running) -> AsyncIterator[Tidemill]:
    async with Tidemill("acme", running.addresses(), credential=admin_token) as opened:
        yield opened


async def test_each_reaction_is_what_the_contract_says(client: Tidemill, running: Running) -> None:
    given: list[Feedback] = []

    def submit(request: fb_rpc.SubmitFeedbackRequest) -> fb_rpc.SubmitFeedbackResponse:
        assert request.request_id
        given.append(request.feedback)
        return fb_rpc.SubmitFeedbackResponse(feedback=request.feedback)

    running.answers["feedback.v1.feedback_service:SubmitFeedback"] = submit
    await client.rate("in-1", 0.0, Rater(end_user="u1"))
    await client.correct("in-1", "Better.")
    await client.comment("in-1", "Nice.", Rater(rater="reviewer"))
    for value in (False, 4, "bought"):
        await client.feedback.give("in-1", "declared", value)
    await client.feedback.prefer("in-1", "in-2", chosen_position=1)

    await client.feedback.give_conversation("chat-1", "declared", value=True)

    rating, correction, comment, flag, number, category, choice, talk = given
    assert (choice.metric, choice.preference.chosen, choice.preference.rejected) == ("preference", "in-1", "in-2")
    assert (talk.WhichOneof("target"), talk.conversation, talk.flag) == ("conversation", "chat-1", True)
    assert [each.WhichOneof("value") for each in (flag, number, category)] == ["flag", "number", "category"]
    assert (flag.flag, number.number, category.category) == (False, 4, "bought")
    assert (rating.metric, rating.WhichOneof("value"), rating.end_user) == ("rating", "number", "u1")
    assert correction.correction.output[0].parts[0].text == "Better."
    assert (comment.metric, comment.comment, comment.rater) == ("comment", "Nice.", "reviewer")


async def test_a_run_is_watched_until_it_ends(client: Tidemill, running: Running) -> None:
    runs = iter([training_run(), training_run(), training_run(TRAINING_RUN_STATE_SUCCEEDED)])
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda _: tr_rpc.GetTrainingRunResponse(
        run=next(runs)
    )
    seen: list[int] = []

    ended = await client.training.wait("run-2", watch=lambda run: seen.append(run.progress.step))

    assert (ended.state, seen) == (TRAINING_RUN_STATE_SUCCEEDED, [31, 31, 31])


async def test_waiting_ends_with_what_it_waited_for(client: Tidemill) -> None:
    with pytest.raises(DeadlineExceeded, match=r"for training run run-2; it continues in the background"):
        await client.training.wait("run-2", within_s=0.02)


async def test_a_dataset_version_is_waited_for(client: Tidemill, running: Running) -> None:
    assert (await client.datasets.wait("helpdesk_sft", number=2)).train.examples == 128

    running.keepers["dataset"].stored["helpdesk_sft"].latest_version = 1
    with pytest.raises(DeadlineExceeded, match=r"helpdesk_sft@2"):
        await client.datasets.wait("helpdesk_sft", number=2, within_s=0.02)


async def test_an_evaluation_is_waited_for(client: Tidemill, running: Running) -> None:
    found: list[Evaluation] = [evaluation(), evaluation(EVALUATION_STATE_COMPLETED)]
    running.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: ev_rpc.GetEvaluationResponse(
        evaluation=found.pop(0)
    )

    started = await client.evaluations.start("helpdesk_gate", "helpdesk_lora@1")
    ended = await client.evaluations.wait(started.id)

    assert ended.verdict == VERDICT_FAILED


async def test_a_rollout_is_waited_for(client: Tidemill, running: Running) -> None:
    running.keepers["deployment"].stored["helpdesk"].rollout.state = ROLLOUT_STATE_PROMOTED

    assert (await client.rollouts.wait("helpdesk")).id == "ro-1"


async def test_the_examples_of_a_version_come_in_pieces(client: Tidemill) -> None:
    assert b"".join([piece async for piece in client.datasets.export("helpdesk_sft@2")]) == b"{}\n"


async def test_lists_are_read_to_their_end(client: Tidemill) -> None:
    assert [run.id async for run in client.training.runs(plan="helpdesk_lora")] == ["run-1", "run-2"]
    assert [version.number async for version in client.datasets.versions("helpdesk_sft")] == [2]
    assert [feedback.id async for feedback in client.feedback.all()] == ["fb-1"]
