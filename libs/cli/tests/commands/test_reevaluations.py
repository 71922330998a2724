"""Re-evaluations of what is live are shown as such, and not as what came of a run, a version or a candidate."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from libs.cli.tests.commands.answers import evaluation
from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.run_answers import RUNS
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.trainer.v1.training_service_pb2 import GetTrainingRunResponse
from tidemill_cli.run_history.reading import MAX_EVALUATIONS

COMPLETED = ev.EVALUATION_STATE_COMPLETED


def evaluated(name: str, state: Any = COMPLETED, **facts: Any) -> ev.Evaluation:  # noqa: ANN401 - of any field
    found = evaluation(state)
    found.MergeFrom(ev.Evaluation(id=name, **facts))
    return found


def again(name: str, *, verdict: Any, state: Any = COMPLETED) -> ev.Evaluation:  # noqa: ANN401 - generated enums
    return evaluated(name, state, candidate="lora@3", baseline="lora@3", reevaluates="ev-1", verdict=verdict)


def store(running: Running, *evaluations: ev.Evaluation) -> None:
    stored = {each.id: each for each in evaluations}
    answers = running.answers
    answers["evaluator.v1.evaluation_service:ListEvaluations"] = lambda _: ev_rpc.ListEvaluationsResponse(
        evaluations=evaluations
    )
    answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda request: ev_rpc.GetEvaluationResponse(
        evaluation=stored[request.id]
    )


async def stages(terminal: Terminal) -> Mapping[str, tuple[str, str]]:
    said = await asyncio.to_thread(terminal, "loop", "status", "helpdesk", "--json")
    assert said.code == 0, said.text
    return {each["stage"]: (each["state"], each["subject"]) for each in said.data["stages"]}


@pytest.fixture(autouse=True)
def reevaluated(running: Running) -> None:
    """Of a gate with a schedule, whose version passed and was then evaluated again, as often as are read of it."""
    running.keepers["gate"].stored["helpdesk_gate"].reevaluate.every.FromSeconds(90 * 60)
    later = [again(f"ev-{2 + number}", verdict=ev.VERDICT_NOT_WORSE) for number in range(MAX_EVALUATIONS)]
    store(running, evaluated("ev-1", verdict=ev.VERDICT_PASSED), *later)


async def test_a_run_keeps_the_verdict_of_its_gate(terminal: Terminal, running: Running) -> None:
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda request: GetTrainingRunResponse(
        run=RUNS[request.id]
    )

    said = await asyncio.to_thread(terminal, "runs", "compare", "run-1", "run-2", "--json")

    first, _ = said.data["runs"]
    assert [(each["id"], each["verdict"]) for each in first["evaluations"]] == [("ev-1", "VERDICT_PASSED")]


async def test_a_card_has_the_evaluations_that_compared_the_version_with_another(terminal: Terminal) -> None:
    card = (await asyncio.to_thread(terminal, "models", "card", "helpdesk_lora@1", "--json")).data

    assert [(each["evaluation"], each["verdict"]) for each in card["metrics"]] == [("ev-1", "passed")]


async def test_a_refused_candidate_stays_in_view_beside_the_newest_re_evaluation(
    terminal: Terminal, running: Running
) -> None:
    running_now = evaluated("ev-9", ev.EVALUATION_STATE_RUNNING)
    refused = evaluated("ev-2", verdict=ev.VERDICT_FAILED)
    earlier, last = again("ev-3", verdict=ev.VERDICT_NOT_WORSE), again("ev-4", verdict=ev.VERDICT_WORSE)
    waiting = again("ev-5", verdict=ev.VERDICT_UNSPECIFIED, state=ev.EVALUATION_STATE_QUEUED)

    store(running, refused, earlier, last)
    worse = await stages(terminal)
    store(running, earlier, waiting, running_now)
    waits = await stages(terminal)

    assert (worse["evaluation"], worse["reevaluation"]) == (("failed", "ev-2"), ("failed", "ev-4"))
    assert (waits["evaluation"], waits["reevaluation"]) == (("running", "ev-9"), ("waiting", "ev-5"))


async def test_a_gate_without_a_schedule_has_no_stage_of_its_former_re_evaluations(
    terminal: Terminal, running: Running
) -> None:
    assert "reevaluation" in await stages(terminal)

    running.keepers["gate"].stored["helpdesk_gate"].ClearField("reevaluate")

    assert "reevaluation" not in await stages(terminal)


async def test_a_schedule_is_listed_as_the_file_has_it(terminal: Terminal) -> None:
    assert "90m" in (await asyncio.to_thread(terminal, "gates", "list")).text
