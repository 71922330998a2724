"""events tail, and the dead letters: what is said on Kafka, and what nobody could use."""

import asyncio
from typing import Annotated

import typer
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from tidemill_client.cli.output import (
    JsonOption,
    ProjectOption,
    card,
    chosen_project,
    print_json,
    run,
    show,
    stdout,
    table,
)
from tidemill_client.connection import Addresses, NoAddress
from tidemill_kit.cloudevents import CloudEvent, InvalidEvent, from_record
from tidemill_kit.dead_letters import DeadLetter, DeadLetters
from tidemill_kit.errors import DependencyUnavailable

events = typer.Typer(help="Events as they are published.", no_args_is_help=True)
dead_letters = typer.Typer(help="Records that a consumer could not use, with the reason.", no_args_is_help=True)

TOPICS = r"^tidemill\..*\.v1$"


@events.command("tail")
def tail(
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="All that the broker still has.")] = False,
    count: Annotated[int, typer.Option("--count", "-n", help="Stop after so many; 0 goes on.")] = 0,
    every_project: Annotated[bool, typer.Option("--every-project", help="Not only this project's.")] = False,
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print events as they come: facts and ids, one a line."""

    async def work() -> None:
        wanted = "" if every_project else chosen_project(project)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka_address(),
            auto_offset_reset="earliest" if from_beginning else "latest",
            enable_auto_commit=False,
        )
        try:
            await consumer.start()
            consumer.subscribe(pattern=TOPICS)
            await _print(consumer, wanted, count, as_json=as_json)
        except KafkaError as error:
            message = f"Kafka does not answer ({type(error).__name__}): is the stack up? try `tidemill status`"
            raise DependencyUnavailable(message, dependency="kafka") from error
        finally:
            await consumer.stop()

    run(work(), as_json=as_json)


async def _print(consumer: AIOKafkaConsumer, project: str, count: int, *, as_json: bool) -> None:
    printed = 0
    async for record in consumer:
        try:
            event = from_record(record.key, record.value, record.headers)
        except InvalidEvent:
            continue
        if record.topic.endswith(".dead.v1") or (project and event.project != project):
            continue
        _print_one(event, record.topic, as_json=as_json)
        printed += 1
        if printed == count:
            return


def _print_one(event: CloudEvent, topic: str, *, as_json: bool) -> None:
    facts = {
        "time": event.time.isoformat() if event.time else "",
        "type": event.type,
        "project": event.project,
        "subject": event.subject,
        "seq": event.seq,
        "id": event.id,
        "topic": topic,
    }
    if as_json:
        print_json(facts)
    else:
        line = f"{facts['time']}  {event.type}  {event.project}/{event.subject}  seq {event.seq}"
        stdout.print(line, markup=False, highlight=False)


def kafka_address() -> str:
    """Return where Kafka is.

    Raises:
        NoAddress: neither the environment nor a running stack tells it.

    """
    address = Addresses.find().kafka
    if not address:
        message = "nobody says where Kafka is: run `tidemill up`, or set TIDEMILL_KAFKA_ADDRESS"
        raise NoAddress(message, service="kafka")
    return address


TopicArgument = Annotated[str, typer.Argument(help="The dead-letter topic, as `dead-letters list` shows it.")]
__all__ = ["DeadLetter", "DeadLetters", "asyncio", "card", "show", "table"]
