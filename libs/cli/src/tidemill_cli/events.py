"""events tail and dead-letters: published events, and records that consumers rejected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

import typer
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from tidemill_cli.kafka_connection import REDRIVE, TOOLS, kafka_servers
from tidemill_cli.options import Commands, options
from tidemill_cli.output import card, chosen_project, print_json, run, show, stdout, table
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.cloudevents import CloudEvent, InvalidEvent, from_record
from tidemill_kit.events.connection import client_options, unavailable
from tidemill_kit.events.dead_letters import NEWEST, DeadLetter, DeadLetters
from tidemill_kit.events.kafka import Publisher, read_topic

events = Commands(help="Show published events.")
dead_letters = Commands(help="List, show and redrive records that a consumer rejected.")

EveryProjectOption = Annotated[
    bool, typer.Option("--every-project", help="All projects, including records without a project.")
]

TOPICS = r"^tidemill\..*\.v1$"


@events.command("tail")
def tail(
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest retained event.")
    ] = False,
    count: Annotated[int, typer.Option("--count", "-n", help="Stop after this many events; 0 = never.")] = 0,
    every_project: EveryProjectOption = False,
) -> None:
    """Print events as they are published, one per line."""

    async def work() -> None:
        requested = "" if every_project else chosen_project()
        servers = kafka_servers(TOOLS)
        consumer = AIOKafkaConsumer(
            auto_offset_reset="earliest" if from_beginning else "latest",
            enable_auto_commit=False,
            **client_options(servers),
        )
        try:
            await consumer.start()
            consumer.subscribe(pattern=TOPICS)
            await _print(consumer, requested, count)
        except KafkaError as error:
            raise await unavailable(servers, error) from error
        finally:
            await consumer.stop()

    run(work())


async def _print(consumer: AIOKafkaConsumer, project: str, count: int) -> None:
    printed = 0
    async for record in consumer:
        try:
            arrived = datetime.fromtimestamp(record.timestamp / 1000, tz=UTC)
            event = from_record(record.value, record.headers, arrive_time=arrived)
        except InvalidEvent:
            continue
        if record.topic.endswith(".dead.v1") or (project and event.project != project):
            continue
        _print_one(event, record.topic)
        printed += 1
        if printed == count:
            return


def _print_one(event: CloudEvent, topic: str) -> None:
    facts = {
        "time": event.time.isoformat(),
        "type": event.type,
        "project": event.project,
        "subject": event.subject,
        "seq": event.seq,
        "id": event.id,
        "topic": topic,
    }
    if options().as_json:
        print_json(facts)
    else:
        line = f"{facts['time']}  {event.type}  {event.project}/{event.subject}  seq {event.seq}"
        stdout.print(line, markup=False, highlight=False)


TopicArgument = Annotated[str, typer.Argument(help="The dead-letter topic, as shown by `dead-letters list`.")]
PlaceArgument = Annotated[str, typer.Argument(help="PARTITION/OFFSET, as shown by `dead-letters list`.")]


NewestOption = Annotated[
    int, typer.Option("--newest", min=1, help="Scan this many of the newest records of each partition.")
]


@dead_letters.command("list")
def list_dead_letters(
    topic: Annotated[str, typer.Argument(help="Only this topic.")] = "",
    *,
    newest: NewestOption = NEWEST,
    every_project: EveryProjectOption = False,
) -> None:
    """List records that consumers rejected, oldest first, with the reason."""

    async def work() -> list[tuple[str, DeadLetter]]:
        requested = _Selection.of(every_project=every_project)
        async with _letters() as (letters, topics):
            chosen = [name for name in topics if topic in {"", name}]
            found = [(name, letter) for name in chosen for letter in await letters.list(name, newest=newest)]
            return [(name, letter) for name, letter in found if requested.takes(letter)]

    found = run(work())
    rows = [
        (name, _place(letter), letter.reason, letter.attributes.get("project", ""), _state(letter), letter.message)
        for name, letter in found
    ]
    picture = table(("topic", "place", "reason", "project", "state", "message"), rows)
    show({"dead_letters": [_facts(name, letter) for name, letter in found]}, picture)


@dead_letters.command("show")
def show_dead_letter(
    topic: TopicArgument,
    place: PlaceArgument,
    *,
    value: Annotated[bool, typer.Option("--value", help="Include the body, which may contain unmasked text.")] = False,
    every_project: EveryProjectOption = False,
) -> None:
    """Show one dead letter: its consumer, reason and origin."""

    async def work() -> DeadLetter:
        requested = _Selection.of(every_project=every_project)
        async with _letters() as (letters, _):
            letter = await letters.show(topic, **_parsed(place))
            requested.check(letter)
            return letter

    letter = run(work())
    facts = _facts(topic, letter)
    if value:
        facts["value"] = (letter.original.value or b"").decode(errors="replace")
    show(facts, card(facts))


@dead_letters.command("redrive")
def redrive(
    topic: TopicArgument,
    place: Annotated[str, typer.Argument(help="PARTITION/OFFSET, or `all` that were not redriven yet.")],
    *,
    newest: NewestOption = NEWEST,
    every_project: EveryProjectOption = False,
) -> None:
    """Republish dead letters to their original topics. Consumers are idempotent: every effect happens once."""

    async def work() -> list[DeadLetter]:
        requested = _Selection.of(every_project=every_project)
        async with _letters(REDRIVE) as (letters, _):
            if place != "all":
                requested.check(await letters.show(topic, **_parsed(place)))
                return [await letters.redrive(topic, **_parsed(place))]
            found = await letters.list(topic, newest=newest)
            waiting = [letter for letter in found if requested.takes(letter) and not letter.redriven]
            return [
                await letters.redrive(topic, partition=letter.partition, offset=letter.offset) for letter in waiting
            ]

    driven = run(work())
    facts = {"redriven": [_facts(topic, letter) for letter in driven]}
    show(facts, f"{len(driven)} redriven")


@dataclass(frozen=True, slots=True)
class _Selection:
    """Filters dead letters by project; "" selects all, including those without a project."""

    project: str

    @classmethod
    def of(cls, *, every_project: bool) -> Self:
        return cls("" if every_project else chosen_project())

    def takes(self, letter: DeadLetter) -> bool:
        return self.project in {"", letter.attributes.get("project", "")}

    def check(self, letter: DeadLetter) -> None:
        """Reject a dead letter of another project.

        Raises:
            PreconditionFailed: the dead letter belongs to another project.

        """
        if not self.takes(letter):
            whose = f"to project {name}" if (name := letter.attributes.get("project")) else "to no readable project"
            message = f"the dead letter belongs {whose}, not to {self.project}: use --project or --every-project"
            raise PreconditionFailed(message)


@asynccontextmanager
async def _letters(user: str = TOOLS) -> AsyncIterator[tuple[DeadLetters, list[str]]]:
    """Connect to Kafka; yield the dead letters and their topics."""
    servers = kafka_servers(user)
    publisher = Publisher(servers)  # which connects when there is something to publish
    try:
        topics = await _dead_letter_topics(servers)
        yield DeadLetters(partial(read_topic, servers), publisher), topics
    finally:
        await publisher.stop()


async def _dead_letter_topics(servers: KafkaServers) -> list[str]:
    consumer = AIOKafkaConsumer(**client_options(servers))
    try:
        await consumer.start()
        return sorted(name for name in await consumer.topics() if name.endswith(".dead.v1"))
    except KafkaError as error:
        raise await unavailable(servers, error) from error
    finally:
        await consumer.stop()


def _parsed(place: str) -> dict[str, int]:
    partition, _, offset = place.partition("/")
    if not (partition.isdigit() and offset.isdigit()):
        raise InvalidInput.at(field="place", text="must be PARTITION/OFFSET, for example 0/17")
    return {"partition": int(partition), "offset": int(offset)}


def _place(letter: DeadLetter) -> str:
    return f"{letter.partition}/{letter.offset}"


def _state(letter: DeadLetter) -> str:
    return "redriven" if letter.redriven else "pending"


def _facts(topic: str, letter: DeadLetter) -> dict[str, Any]:
    return {
        "topic": topic,
        "place": _place(letter),
        "consumer": letter.consumer,
        "reason": letter.reason,
        "message": letter.message,
        "origin": f"{letter.origin.topic} {letter.origin.number}/{letter.origin_offset}",
        "time": letter.time.isoformat(),
        "attempts": letter.attempts,
        "redriven": letter.redriven,
        "value_not_kept": letter.value_size,
        "attributes": dict(letter.attributes),
    }
