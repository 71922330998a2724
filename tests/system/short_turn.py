"""One short turn of the loop through public APIs only: corrections become a candidate, which answers in the end."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.system.random_model import write_random_model
from tests.system.running import Platform, wait_until
from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState, Verdict
from tidemill.evaluator.v1.evaluation_service_pb2 import ListEvaluationsRequest
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill_client.connection import Connection
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable
from tidemill_testkit.stack import unique_name

TAUGHT, GATES = 24, 2
LOOP = """\
apiVersion: tidemill.dev/v1
kind: Loop
metadata: {{name: short}}
models:
  random: {{source: "file:{model}"}}
prompts:
  answer: {{system: "You answer in one sentence.", user: "{{{{ question }}}}"}}
deployments:
  short:
    model: {{follow: short_lora, start_with: random}}
    prompt: answer
    sampling: {{temperature: 0.0, max_output_tokens: 12}}
    record: full
datasets:
  short_sft:
    examples: {{deployment: short, feedback: [correction], per_user_at_most: 20}}
    publish: {{new_examples: {taught}, at_least: 10}}
    held_out: {{share: 0.3, group_by: question}}
training:
  short_lora:
    dataset: short_sft
    base: random
    method: sft
    lora: {{r: 4, lora_alpha: 8, target_modules: all-linear}}
    args: {{learning_rate: 1.0e-3, max_steps: 4, per_device_train_batch_size: 2, seed: 7}}
    limits: {{time: 10m, memory: 6Gi}}
suites:
  short_truth: {{cases: {{file: truth.jsonl}}}}
gates:
  short_gate:
    candidate: short_lora
    baseline: live
    require:
      - {{cases: {{dataset: short_sft, split: held_out, at_least: 3}}, metric: rouge_l, gain_above: -1.0}}
      - {{cases: {{suite: short_truth}}, metric: rouge_l, gain_above: -1.0}}
  strict_gate:
    candidate: short_lora
    baseline: live
    require:
      - {{cases: {{suite: short_truth}}, metric: rouge_l, gain_above: 0.999}}
rollouts:
  short:
    deployment: short
    gate: short_gate
    sticky_by: end_user
    steps:
      - {{shadow: true, requests: 2}}
      - {{weight: 50, requests: 4, at_least: 1}}
    on_timeout: hold
"""
"""Bounds of -1 hold for every candidate and a bound of 0.999 for none: what is tested is the way, not the model."""


class Loop:
    """One project with the short loop applied."""

    def __init__(self, platform: Platform, folder: Path, *, hidden: int = 32) -> None:
        self.platform = Platform(platform.folder, platform.addresses, unique_name("turn"))
        self.file = folder / "loop.yaml"
        self.file.write_text(LOOP.format(model=write_random_model(folder, hidden=hidden), taught=TAUGHT))
        cases = [
            {"id": f"c{n}", "question": f"What is {n} plus {n}?", "reference": f"It is {2 * n}."} for n in range(4)
        ]
        (folder / "truth.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
        self.apply()

    def apply(self) -> int:
        applied = self.tidemill("apply", "-f", str(self.file))
        return int(applied["changed"])

    def tidemill(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON it prints
        outcome = self.platform.tidemill(*arguments, "--json")
        assert outcome.code == 0, outcome.output + outcome.errors
        return outcome.data

    async def ask(self, connection: Connection, question: str, *, end_user: str) -> Inference:
        message = Message(role=Role.ROLE_USER, parts=[Part(text=question)])
        request = GenerateRequest(request_id=str(uuid4()), deployment="short", messages=[message], end_user=end_user)
        return (await connection.inferences.Generate(request, timeout=60)).inference

    async def loaded(self, connection: Connection) -> Inference:
        """Wait until the model answers, which takes some engines a minute, and return its first answer."""

        async def answered() -> Inference | None:
            with suppress(DependencyUnavailable, DeadlineExceeded):
                return await self.ask(connection, "What is here?", end_user="first")
            return None

        return await wait_until(answered, "the model to answer")

    async def teach(self, connection: Connection) -> None:
        """Correct so many answers, half of them by events."""
        asked = await asyncio.gather(
            *(self.ask(connection, f"What is item {n}?", end_user=f"user-{n % 4}") for n in range(TAUGHT))
        )
        events = []
        for number, inference in enumerate(asked):
            right = f"Item {number} is made of {chr(97 + number % 26) * 3} and stone."
            if number % 2:
                answer = [{"role": "ROLE_ASSISTANT", "parts": [{"text": right}]}]
                reaction = {"inference": inference.id, "metric": "correction", "correction": {"output": answer}}
                events.append({"subject": inference.id, "feedback": reaction})
            else:
                output = [Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=right)])]
                given = Feedback(inference=inference.id, metric="correction", correction=Correction(output=output))
                await connection.feedback.SubmitFeedback(SubmitFeedbackRequest(feedback=given))
        assert self.platform.publish(*events, to="feedback") == len(events)


async def verdicts(connection: Connection) -> dict[str, int]:
    """Return the verdict of each gate, once both have one."""

    async def both() -> dict[str, int] | None:
        found = (await connection.evaluations.ListEvaluations(ListEvaluationsRequest())).evaluations
        completed = EvaluationState.EVALUATION_STATE_COMPLETED
        ended = {each.gate: int(each.verdict) for each in found if each.state == completed}
        return ended if len(ended) == GATES else None

    return await wait_until(both, "the verdicts")


async def turn(platform: Platform, folder: Path, *, hidden: int = 32, engine: str = "transformers") -> Platform:
    """Correct answers, and see a candidate trained, refused by one gate, let through by the other and promoted.

    Return the project in which that happened.
    """
    loop = Loop(platform, folder, hidden=hidden)
    async with Connection(loop.platform.project, loop.platform.addresses) as connection:
        assert (await loop.loaded(connection)).variant.engine.startswith(f"{engine} ")
        await loop.teach(connection)
        assert await verdicts(connection) == {
            "short_gate": Verdict.VERDICT_PASSED,
            "strict_gate": Verdict.VERDICT_FAILED,
        }
        versions = loop.tidemill("datasets", "versions", "short_sft")["versions"]
        assert versions[0]["statistics"]["train_held_out_shared"] == 0

        number = 0

        async def promoted() -> bool:
            nonlocal number
            number += 1
            inference = await loop.ask(connection, f"What is item {number}?", end_user=f"visitor-{number}")
            assert inference.variant.engine.startswith(f"{engine} ")
            return inference.variant.model == "short_lora@1" and inference.variant.name == "live"

        await wait_until(promoted, "the candidate to be promoted")

    assert loop.apply() == 0
    found = loop.tidemill("lineage", "model_version", "short_lora@1")
    kinds = {node["kind"] for node in found["nodes"]}
    assert kinds >= {"model_version", "training_run", "dataset_version", "curation", "feedback", "inference"}
    return loop.platform
