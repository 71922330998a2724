"""Dead letters: records that could not be handled, kept with the reason until an operator redrives them.

A dead letter is the record as it was, with headers of our own; once redriven, a mark that names it follows.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tidemill_core.errors import NotFound, PreconditionFailed, TidemillError
from tidemill_kit.events.cloudevents import attributes_of
from tidemill_kit.events.records import OutgoingRecord, Part, Partition, Publishing, Record

PREFIX = "tidemill_dead_"
_MARK = PREFIX + "redriven"
_LONGEST_MESSAGE = 2000


class DeadLetterNotFound(NotFound):
    """There is no dead letter in this place; it may have expired."""

    reason = "DEAD_LETTER_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Where it lies, who could not handle it and why, and the record itself, to be written where it came from."""

    partition: int
    offset: int
    consumer: str
    reason: str
    message: str
    origin: Partition
    origin_offset: int
    time: datetime
    attempts: int
    attributes: Mapping[str, str]
    """The CloudEvent's attributes that its headers give."""
    original: OutgoingRecord
    value_size: int | None = None
    """Set where the record's value was too large to be kept."""
    redriven: bool = False


def dead_letter(record: Record, *, topic: str, consumer: str, error: TidemillError, attempts: int) -> OutgoingRecord:
    """Return the dead letter of a record that `consumer` could not handle, for the dead-letter topic `topic`."""
    facts = {
        "consumer": consumer,
        "reason": error.reason,
        "message": error.message[:_LONGEST_MESSAGE],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "time": datetime.now(UTC).isoformat(),
        "attempts": attempts,
    }
    headers = tuple((PREFIX + name, str(fact).encode("utf-8", "replace")) for name, fact in facts.items())
    value = b"" if record.key is None and record.value is None else record.value  # one of them must be there
    return OutgoingRecord(topic=topic, key=record.key, value=value, headers=(*_own(record), *headers))


def without_value(letter: OutgoingRecord) -> OutgoingRecord:
    """Return a dead letter that Kafka takes where the record itself is too large: its size and sha256 stand for it."""
    value = letter.value or b""
    facts = {"value_size": str(len(value)), "value_sha256": hashlib.sha256(value).hexdigest()}
    headers = tuple((PREFIX + name, fact.encode()) for name, fact in facts.items())
    return replace(letter, value=b"", headers=(*letter.headers, *headers))


NEWEST = 1000
"""Records of each partition that are looked through where no other number is asked for."""


class DeadLetters:
    """The dead letters of any topic; `read` yields a part of the records that a topic holds now.

    A topic may hold millions, so that only its end is looked through, and a mark before that is not seen.
    """

    def __init__(self, read: Callable[[str, Part], AsyncIterator[Record]], publisher: Publishing) -> None:
        self._read = read
        self._publisher = publisher

    async def list(self, topic: str, *, newest: int = NEWEST) -> Sequence[DeadLetter]:
        """Return the dead letters among the newest records of each partition, oldest first, without their values."""
        letters: dict[str, DeadLetter] = {}
        marks: set[str] = set()
        async for record in self._read(topic, Part(newest=newest)):
            letter = _letter(record)
            if letter is None:
                marks.add(dict(record.headers).get(_MARK, b"").decode())
            else:
                letters[_place(letter.partition, letter.offset)] = replace(
                    letter, original=replace(letter.original, value=None)
                )
        found = [replace(letter, redriven=place in marks) for place, letter in letters.items()]
        return sorted(found, key=lambda letter: letter.time)

    async def show(self, topic: str, *, partition: int, offset: int) -> DeadLetter:
        """Return one dead letter with its value.

        Raises:
            DeadLetterNotFound: there is none in this place.

        """
        found: DeadLetter | None = None
        async for record in self._read(topic, Part(at=(partition, offset))):
            if record.offset == offset:  # else it has expired
                found = _letter(record)
        if found is None:
            message = f"{topic} has no dead letter {_place(partition, offset)}: list them to see what there is"
            raise DeadLetterNotFound(message, topic=topic)
        mark, redriven = _place(partition, offset).encode(), False
        async for record in self._read(topic, Part(newest=NEWEST)):
            redriven |= dict(record.headers).get(_MARK) == mark
        return replace(found, redriven=redriven)

    async def redrive(self, topic: str, *, partition: int, offset: int) -> DeadLetter:
        """Write the record again where it came from, and mark the dead letter as redriven.

        All consumers of that topic receive it again. A redrive that broke off may be repeated.

        Raises:
            DeadLetterNotFound: there is none in this place.
            PreconditionFailed: its value was not kept.

        """
        letter = await self.show(topic, partition=partition, offset=offset)
        if letter.value_size is not None:
            message = f"its value was too large to keep ({letter.value_size} bytes): publish a smaller one"
            raise PreconditionFailed(message)
        await self._publisher.publish(letter.original)
        place = _place(partition, offset).encode()
        await self._publisher.publish(OutgoingRecord(topic=topic, key=place, value=b"", headers=((_MARK, place),)))
        return replace(letter, redriven=True)


def _letter(record: Record) -> DeadLetter | None:
    """Return what the record reports, or None if it is a mark, or no dead letter at all."""
    facts = {
        name.removeprefix(PREFIX): value.decode() for name, value in record.headers if value and name.startswith(PREFIX)
    }
    if "offset" not in facts:
        return None
    origin = Partition(facts["topic"], int(facts["partition"]))
    own = _own(record)
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        consumer=facts["consumer"],
        reason=facts["reason"],
        message=facts.get("message", ""),
        origin=origin,
        origin_offset=int(facts["offset"]),
        time=datetime.fromisoformat(facts["time"]),
        attempts=int(facts["attempts"]),
        attributes=attributes_of(own),
        value_size=int(facts["value_size"]) if "value_size" in facts else None,
        original=OutgoingRecord(
            topic=origin.topic, key=record.key, value=record.value, headers=own, timestamp=_timestamp(facts)
        ),
    )


def _own(record: Record) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))


def _place(partition: int, offset: int) -> str:
    return f"{partition}/{offset}"


def _timestamp(facts: Mapping[str, str]) -> int:
    """Return the record's own time, with which it is redriven: what it proves is judged by that."""
    text = facts.get("timestamp", "")
    return int(text) if text.isascii() and text.isdigit() else 0
