"""Compares an evaluation with asking its cases one by one, on the same stack and model, in turns.

One by one is what a script does: Generate for the baseline of a case, for its candidate, then the next case; nothing
is scored, and nothing stored but the records. The evaluation is `StartEvaluation` on a suite of such cases, from the
request to its verdict. Both sides are answered by the same model. Printed are cases a second, and their ratio by round,
and by the processor time of inference's main process.

Run with TIDEMILL_TEST_STACK naming a stack.json with services: `python -m tests.bench.evaluation [--cases 48]`.
"""

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import uuid4

from tests.bench._figures import report
from tests.bench.generate import ROOT, TOKENS, prepared, processor_s, questions, say
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED
from tidemill.evaluator.v1.suite_pb2 import Case, Suite
from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill_client.connection import Addresses, Connection
from tidemill_client.declared import Suites
from tidemill_client.evaluations import Evaluations
from tidemill_kit.models.numeric_format import computed_format
from tidemill_local.addresses import Addresses as StackAddresses

MODEL = "bench@1"
WITHIN_S = 900


@dataclass(frozen=True, slots=True)
class Compared:
    """Cases of which both sides were answered, and what that took."""

    cases: int
    seconds: float
    processor_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """Both ways of answering cases."""

    connection: Connection
    metrics: str
    """The address of inference's metrics."""

    async def one_by_one(self, texts: Sequence[str]) -> Compared:
        """Ask both sides of each case, one answer after the other."""
        processor, began = await asyncio.to_thread(processor_s, self.metrics), perf_counter()
        for text in texts:
            for variant in ("", MODEL):
                await self.connection.inferences.Generate(_asked(text, variant), timeout=WITHIN_S)
        return await self._compared(len(texts), began, processor)

    async def evaluated(self, texts: Sequence[str]) -> Compared:
        """Evaluate the model against itself on a suite of these cases."""
        suite = f"bench-{uuid4().hex[:8]}"
        cases = [Case(id=f"c{number}", question=text, reference=text[:200]) for number, text in enumerate(texts)]
        await Suites(self.connection).create(Suite(id=suite, cases=cases))
        evaluations = Evaluations(self.connection)
        processor, began = await asyncio.to_thread(processor_s, self.metrics), perf_counter()
        started = await evaluations.compare("bench", [suite], candidate=MODEL)
        ended = await evaluations.wait(started.id, within_s=WITHIN_S)
        assert ended.state == EVALUATION_STATE_COMPLETED, ended
        return await self._compared(len(texts), began, processor)

    async def _compared(self, cases: int, began: float, processor: float) -> Compared:
        seconds = perf_counter() - began
        return Compared(cases, seconds, await asyncio.to_thread(processor_s, self.metrics) - processor)


async def main(cases: int, alone: int, rounds: int) -> None:
    """Measure and print."""
    stack = StackAddresses.read(Path(os.environ["TIDEMILL_TEST_STACK"]))
    services = {name: each["grpc"] for name, each in stack.services.items()}
    addresses = Addresses(services=services, credential_file=stack.credential_file)
    texts = questions(cases)
    async with Connection(f"bench-{uuid4().hex[:8]}", addresses) as connection:
        await prepared(connection, ROOT / ".tidemill" / "models" / "smollm2")
        comparing = Comparing(connection=connection, metrics=stack.services["inference"]["metrics"])
        await comparing.one_by_one(texts[:1])  # for warming up
        ratios = []
        for _ in range(rounds):
            one, many = await comparing.one_by_one(_fresh(texts[:alone])), await comparing.evaluated(_fresh(texts))
            ratios.append((many.cases / many.seconds) / (one.cases / one.seconds))
            effort = (many.cases / many.processor_s) / (one.cases / one.processor_s)
            say(
                f"one by one {one.cases / one.seconds:.3f} cases/s, evaluated {many.cases / many.seconds:.3f}: "
                f"ratio {ratios[-1]:.2f}, by inference's processor time {effort:.2f}"
            )
    report("evaluation", median(ratios), "x")
    load = os.getloadavg()[0]
    say(f"median {median(ratios):.2f}; {TOKENS} tokens an answer, {computed_format('auto')}, load {load:.1f}")


def _fresh(texts: Sequence[str]) -> list[str]:
    """Return the texts as prompts whose beginning was never asked before; both sides of a case are asked the same."""
    return [f"Document {uuid4().hex[:6]}: {text}" for text in texts]


def _asked(text: str, variant: str) -> GenerateRequest:
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=text)])
    purpose = inference_pb2.PURPOSE_EVALUATION
    return GenerateRequest(deployment="bench", messages=[message], purpose=purpose, variant=variant)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=48, help="of an evaluation")
    parser.add_argument("--alone", type=int, default=12, help="cases asked one by one")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(given.cases, given.alone, given.rounds))
