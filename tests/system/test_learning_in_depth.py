"""What `make demo ARGS=--deep` declares and watches, on a random model with few corrections: the way, not the model."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.system.random_model import write_example
from tests.system.running import LOOP, ROOT, Platform
from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.inference.v1.deployment_service_pb2 import GetDeploymentRequest
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill_client.connection import Connection
from tidemill_client.reactions import Reactions
from tidemill_client.values import text_of
from tidemill_helpdesk.depth import PREFERRED, Depth
from tidemill_helpdesk.example import DEEP, Example
from tidemill_helpdesk.helpdesk import DEPLOYMENT
from tidemill_helpdesk.judging import Judging
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.turn import PLAN, Turn
from tidemill_testkit.stack import unique_name

TAUGHT, TRIALS, CHOSEN = 40, 4, 4
SMALLER = {
    "new_examples: 180": f"new_examples: {TAUGHT}",
    "at_least: 50": "at_least: 10",
    "at_least: 40": "at_least: 5",
    "max_steps: 20": "max_steps: 4",
    "max_output_tokens: 64": "max_output_tokens: 12",
    "trials: 6": f"trials: {TRIALS}",
    "gain_above: 0.0}": "gain_above: -1.0}",
    "gain_above: -0.02}": "gain_above: -1.0}",
}


def small_example(folder: Path) -> Example:
    """Write deep.yaml with a random model, little to learn and bounds that hold for every candidate."""
    file = write_example(folder, file=DEEP, embedding=True)
    text = file.read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        assert old in text, old
        text = text.replace(old, new)
    cases = [{"id": f"c{n}", "question": f"What is {n} plus {n}?", "reference": f"It is {2 * n}."} for n in range(12)]
    truth = folder / "truth.jsonl"
    truth.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    declared = next(line for line in text.splitlines() if "helpdesk_truth: {cases" in line)
    file.write_text(text.replace(declared, f"  helpdesk_truth: {{cases: {{file: {truth.name}}}}}"), encoding="utf-8")
    for script in ("corpus.py", "shuffles.py"):
        shutil.copy(LOOP.with_name(script), folder)
    return Example(folder=folder, file=DEEP)


class Users:
    """Correct answers, and choose between two."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def react(self, number: int) -> None:
        """Correct one answer; for the first ones, ask again and choose."""
        first = await self._ask(number)
        output = [Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=f"Item {number} is made of {number} stones.")])]
        given = Feedback(inference=first.id, metric="correction", correction=Correction(output=output))
        await self._connection.feedback.SubmitFeedback(SubmitFeedbackRequest(feedback=given))
        if number < CHOSEN and text_of(second := await self._ask(number, temperature=1.0)) != text_of(first):
            await Reactions(self._connection).prefer(second.id, first.id)

    async def _ask(self, number: int, *, temperature: float | None = None) -> Inference:
        message = Message(role=Role.ROLE_USER, parts=[Part(text=f"What is item {number}?")])
        request = GenerateRequest(
            request_id=str(uuid4()), deployment=DEPLOYMENT, messages=[message], end_user=f"user-{number % 4}"
        )
        if temperature is not None:
            request.sampling.temperature = temperature
        return (await self._connection.inferences.Generate(request, timeout=120)).inference


async def learned_in_depth(platform: Platform, example: Example) -> dict[str, Any]:
    async with Connection(platform.project, platform.addresses) as connection:
        shared: dict[str, Any] = {"connection": connection, "example": example, "report": Report(platform.project)}
        turn = Turn(**shared, documents=await example.documents())
        depth, judging = Depth(turn=turn), Judging(**shared)
        await depth.hold()
        users = Users(connection)
        for start in range(0, TAUGHT, 8):
            await asyncio.gather(*(users.react(number) for number in range(start, start + 8)))
        await depth.pairs()
        await depth.search()
        run = await turn.train()
        await judging.evaluate(run.model_version)
        await depth.met_the_gate()
        preferred = await depth.train()
        await depth.judge(preferred.model_version)
        deployment = await connection.deployments.GetDeployment(GetDeploymentRequest(id=DEPLOYMENT))
        turn.report.add("rollout", model=deployment.deployment.rollout.candidate.model)
        return turn.report.data()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_sweep_makes_the_candidate_and_pairs_another_one_that_is_compared_with_what_is_live(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_LOOP_FILES", str(ROOT / ".tidemill"))
    example = small_example(tmp_path)
    own = Platform(platform.folder, platform.addresses, unique_name("deep"))
    applied = own.tidemill("apply", "-f", str(example.loop), "--json")
    assert applied.code == 0, applied.output + applied.errors

    report = asyncio.run(learned_in_depth(own, example))

    sweep, preferred = report["sweep"], report["preferred"]
    assert sweep["trials"] == TRIALS == sweep["measured"] + sweep["pruned"]
    assert sweep["winner_loss"] == min(losses[-1] for losses in sweep["losses"] if len(losses) == 4)
    assert sweep["met_the_gate"] == [sweep["model_version"]] == [f"{PLAN}@1"]
    assert (preferred["version"], preferred["verdict"]) == (f"{PREFERRED}@1", "passed")
    assert preferred["pairs"] > 0
    assert preferred["live_model"] == "smollm2@1"  # there are no visitors, so that nothing was promoted
    assert report["rollout"]["model"] == f"{PLAN}@1"  # the one that passed last is not rolled out
    assert own.tidemill("apply", "-f", str(example.loop), "--json").data["changed"] == 0
