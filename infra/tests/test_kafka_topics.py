"""infra/kafka/topics.yaml says of each topic who writes and who reads it, as the services do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill_kit.access.revocations import TOPIC as REVOCATIONS
from tidemill_kit.erasure.erasures import REPORTS
from tidemill_kit.events import kafka
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.service import backend
from tidemill_kit.store import aggregates
from tidemill_local.programs import SERVICES
from tidemill_local.topics import declared
from tidemill_testkit.built import build

TOPICS = {topic.name: topic for topic in declared()}


@pytest.fixture
async def built(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Subscription], set[str]]:
    """Build a service, without starting it; give its subscriptions, and the topics that its aggregates publish to."""
    subscriptions: list[Subscription] = []
    topics: set[str] = set()

    class Consumers(kafka.Consumers):
        def __init__(self, servers: Any, subscribed: Sequence[Subscription], publisher: Any, **options: Any) -> None:  # noqa: ANN401 - handed on
            subscriptions.extend(subscribed)
            super().__init__(servers, subscribed, publisher, **options)

    class Recorded(aggregates.MongoAggregates[Any]):
        def __init__(self, *args: Any, topic: str = "", **options: Any) -> None:  # noqa: ANN401 - handed on
            topics.update({topic} - {""})
            super().__init__(*args, topic=topic, **options)

    monkeypatch.setattr(backend, "Consumers", Consumers)
    monkeypatch.setattr(backend, "MongoAggregates", Recorded)
    await build(service, tmp_path)
    return subscriptions, topics


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_and_writes_the_topics_that_are_declared(
    service: str, built: tuple[list[Subscription], set[str]]
) -> None:
    subscriptions, topics = built
    reads = {name for name, topic in TOPICS.items() if service in topic.read_by(list(SERVICES))} - {REVOCATIONS}
    letters = {name for name, topic in TOPICS.items() if topic.kind == "dead-letters" and topic.owner == service}
    writes = {
        name
        for name, topic in TOPICS.items()
        if topic.kind in {"events", "state"} and topic.producers is None and topic.owner == service
    }

    assert {topic for each in subscriptions for topic in each.topics} - {REVOCATIONS} == reads
    assert {each.dead_letter_topic for each in subscriptions} == letters
    assert all(each.group.startswith(f"tidemill.{service}.") for each in subscriptions)
    assert topics - {REPORTS} == writes
    assert REPORTS in topics
