"""Counts the calls of MongoDB that one answer takes, with those of the relay for its event.

Its deployment and its prompt are read once for the answers of a moment: of those that follow, the median is printed.

Run with TIDEMILL_TEST_STACK naming a stack.json: `python -m services.inference.tests.bench.store_calls`.
"""

import asyncio
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import median

from pymongo import monitoring

from services.inference.tests.fakes import ADA, AnsweringHarness, asking, helpdesk, prompt_named, question
from tests.bench._figures import report
from tidemill_core.application import Request
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.recent import RecentAggregates
from tidemill_local.addresses import Addresses
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

TOPIC = "tidemill.inference.inference.v1"
ANSWERS = 5
_CALLS = frozenset({"find", "insert", "update", "findAndModify", "aggregate", "delete"})


class Counting(monitoring.CommandListener):
    """Counts the commands that read or write documents."""

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Count one."""
        if event.command_name in _CALLS:
            self.calls[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


async def harness_on(database: Database, relay: Relay) -> AnsweringHarness:
    """Return answering with its stores in MongoDB; engine, search and registry are in memory."""
    harness = AnsweringHarness()
    at = "/bench"
    prompts = MongoAggregates(database["prompts"], codec=PROMPTS, topic="", source=at, missing=PromptNotFound)
    deployments = MongoAggregates(
        database["deployments"], codec=DEPLOYMENTS, topic="", source=at, missing=DeploymentNotFound
    )
    inferences = MongoAggregates(
        database["inferences"],
        codec=INFERENCES,
        topic=TOPIC,
        source=at,
        missing=InferenceNotFound,
        usually_new=True,
        enqueue=relay.enqueuer(database["inferences"]),
    )
    await prompts.add(prompt_named("answer"), request=Request.internal())
    await deployments.add(helpdesk(), request=Request.internal())
    reservations = replace(harness.answer.reservations, inferences=inferences)
    harness.answer = replace(
        harness.answer,
        prompts=RecentAggregates(prompts, max_age_s=60).reads,
        deployments=RecentAggregates(deployments, max_age_s=60).reads,
        inferences=inferences,
        reservations=reservations,
    )
    return harness


async def main() -> None:
    """Answer a few times, and print the median."""
    stack = Addresses.read(Path(os.environ["TIDEMILL_TEST_STACK"]))
    counting = Counting()
    monitoring.register(counting)
    client, publisher = connect(stack.mongo, timeout_s=30), Publisher(stack.kafka_servers("tidemill-inference"))
    database, relay = client[unique_name("bench-answers")], Relay(publisher, sweep_every_s=3600)
    await publisher.start()
    harness = await harness_on(database, relay)
    await relay.start()
    counted = list[Counter[str]]()
    for number in range(ANSWERS):
        counting.calls.clear()
        answer = await harness.answer.whole(ADA, question(), request=asking(f"r{number}"))
        assert answer.seq, "an answer has an event"
        await eventually(lambda: not relay.outbox_length())
        counted.append(Counter(counting.calls))
    await relay.stop()
    await publisher.stop()
    await client.drop_database(database.name)
    calls = median(each.total() for each in counted)
    sys.stdout.write(f"{calls:g} calls of MongoDB for one answer: {dict(counted[-1])}\n")
    report("store_calls", calls, "calls")


if __name__ == "__main__":
    asyncio.run(main())
