"""How long one project waits for answers beside another with ten times its load.

    python -m services.inference.tests.bench.fairness

Prints the 95th percentile of the light project's answers alone, and beside the heavy one, in turns; the ratio is to be
at most 1.5. The engine computes nothing: an answer takes a fixed time, and the process has a fixed number of places, of
which one project gets half at most, as by default.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from services.inference.tests.fakes import (
    ADA,
    AnsweringHarness,
    ScriptedEngine,
    asking,
    helpdesk,
    prompt_named,
    question,
)
from tidemill_inference.engines.ports import Finish, Generated, Piece, Prompt
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.shared import SharedGenerations
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_kit.workers.fair_queue import FairQueue, QueueLimits
from tidemill_testkit.stores import InMemoryAggregates

PLACES, ANSWER_S, SECONDS = 8, 0.4, 10.0
LIGHT_PER_S = 3.0
HEAVY = 10
"""Times the load of the light project: more than the places can take."""
LIMIT = 1.5


class SteadyEngine(ScriptedEngine):
    """Takes the same time for each answer."""

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        assert prompt.messages
        assert timeout_s
        await asyncio.sleep(ANSWER_S)
        yield Piece(text="as always")
        yield Finish(reason="stop", input_tokens=10, output_tokens=2)


class Bench:
    """One process with two projects."""

    def __init__(self) -> None:
        self.answers = {project: self._answers(project) for project in ("light", "heavy")}
        self.number = 0

    def _answers(self, project: str) -> AnswerQuestion:
        deployment, prompt = helpdesk(retrieval=None), prompt_named("answer")
        deployment.project = prompt.project = project
        harness = AnsweringHarness(SteadyEngine(), deployment=deployment)
        harness.prompts = InMemoryAggregates(prompt, codec=PROMPTS, missing=PromptNotFound)
        return harness.replica()

    def shared(self) -> None:
        """Begin anew with empty places, which both projects share."""
        places = FairQueue(
            "places",
            QueueLimits(places=PLACES, of_project=PLACES // 2, waiting=10_000, waiting_of_project=5_000, max_wait_s=60),
        )
        self.answers = {
            project: replace(each, generations=SharedGenerations(places=places))
            for project, each in self.answers.items()
        }

    async def load(self, project: str, per_s: float, seconds: float) -> list[float]:
        """Return how long each answer took, of requests that come evenly, whether or not earlier ones have ended."""
        began, tasks = time.monotonic(), []
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(project)))
        return await asyncio.gather(*tasks)

    async def _one(self, project: str) -> float:
        self.number += 1
        began = time.monotonic()
        caller = replace(ADA, project=project)
        await self.answers[project].whole(caller, question(), request=asking(f"r{self.number}"))
        return time.monotonic() - began


async def measured() -> tuple[float, float]:
    """Return the light project's p95 alone, and beside the heavy one."""
    bench = Bench()
    bench.shared()
    alone = await bench.load("light", LIGHT_PER_S, SECONDS)
    bench.shared()
    beside, _ = await asyncio.gather(
        bench.load("light", LIGHT_PER_S, SECONDS), bench.load("heavy", HEAVY * LIGHT_PER_S, SECONDS)
    )
    return p95(alone), p95(beside)


def p95(seconds: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(seconds, n=20)[-1]


async def main() -> None:
    """Measure three times, and print the medians."""
    cpu = time.process_time()
    runs = [await measured() for _ in range(3)]
    alone, beside = (statistics.median(each) for each in zip(*runs, strict=True))
    ratio = statistics.median(with_ / without for without, with_ in runs)
    print(f"p95 alone {alone * 1000:.1f} ms, beside 10 x the load {beside * 1000:.1f} ms: ratio {ratio:.2f}")  # noqa: T201
    print(f"limit {LIMIT}; processor time {time.process_time() - cpu:.1f} s")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
