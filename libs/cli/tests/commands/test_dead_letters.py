import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemill_cli import events
from tidemill_cli.main import app
from tidemill_core.errors import NotFound
from tidemill_kit.events.cloudevents import PREFIX
from tidemill_kit.events.dead_letters import DeadLetters, dead_letter
from tidemill_kit.events.records import OutgoingRecord, Part, Unreadable

TOPIC = "tidemill.ingest.submissions.dead.v1"


class Publisher:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


def letter(offset: int, *projects: str) -> Unreadable:
    headers = tuple((f"{PREFIX}project", project.encode()) for project in projects)
    record = Unreadable(topic="t", partition=0, offset=offset, value=b"words of a user", headers=headers)
    reported = dead_letter(record, topic=TOPIC, consumer="ingest", error=NotFound("no such source"), attempts=1)
    return Unreadable(topic=TOPIC, partition=0, offset=offset, value=reported.value, headers=reported.headers)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    publisher = Publisher()
    held = [letter(0, "acme"), letter(1, "umbrella"), letter(2)]

    async def read(_topic: str, part: Part) -> AsyncIterator[Unreadable]:
        for each in held:
            if part.at in {None, (each.partition, each.offset)}:
                yield each

    @asynccontextmanager
    async def opened(*_: str) -> AsyncIterator[tuple[DeadLetters, list[str]]]:
        yield DeadLetters(read, publisher), [TOPIC]

    monkeypatch.setattr(events, "_letters", opened)
    return publisher


def typed(*arguments: str) -> tuple[int, Any]:
    said = CliRunner().invoke(app, ["dead-letters", *arguments, "--json"], env={"TIDEMILL_PROJECT": "acme"})
    return said.exit_code, json.loads(said.output) if said.exit_code == 0 else said.output


def places(*arguments: str) -> list[str]:
    _, listed = typed("list", *arguments)
    return [each["place"] for each in listed["dead_letters"]]


@pytest.mark.usefixtures("publisher")
def test_a_project_sees_its_own_dead_letters_unless_all_are_asked_for() -> None:
    assert places() == ["0/0"]
    assert places("--project", "umbrella") == ["0/1"]
    assert places("--every-project") == ["0/0", "0/1", "0/2"]


@pytest.mark.usefixtures("publisher")
@pytest.mark.parametrize("place", ["0/1", "0/2"])
def test_a_body_of_another_project_or_of_none_is_shown_only_when_that_is_asked_for(place: str) -> None:
    code, refused = typed("show", TOPIC, place, "--value")

    assert code != 0
    assert "--every-project" in refused
    assert "words of a user" not in refused
    assert typed("show", TOPIC, place, "--value", "--every-project")[1]["value"] == "words of a user"


def test_only_a_projects_own_are_redriven_with_all(publisher: Publisher) -> None:
    assert typed("redrive", TOPIC, "0/1")[0] != 0
    assert publisher.records == []
    assert len(typed("redrive", TOPIC, "all")[1]["redriven"]) == 1
    assert len([record for record in publisher.records if record.topic == "t"]) == 1
