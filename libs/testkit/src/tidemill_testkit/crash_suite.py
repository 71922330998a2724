"""What every service passes: its process is killed in the middle of its work, and nothing is lost or done twice.

A service says by `Crashing` how a piece of work is sent to it, and where others see its effect.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from tidemill_core.errors import TidemillError
from tidemill_kit.events.kafka import read_topic
from tidemill_testkit.polling import eventually
from tidemill_testkit.service_process import ServiceProcess

PIECES = 8


class Crashing(Protocol):
    """A service's process that is ready, and its callers."""

    @property
    def process(self) -> ServiceProcess:
        """The process to be killed."""
        ...

    @property
    def project(self) -> str:
        """The project for which work is sent."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """Where the service publishes what it did."""
        ...

    async def send(self, piece: str) -> None:
        """Send one piece of work as callers do, under the same ids when it is sent again."""
        ...

    async def done(self) -> Sequence[str]:
        """Return the pieces whose effect others see, each as often as they see it."""
        ...


async def outlives_a_kill(service: Crashing, *, pieces: int = PIECES, noticed: bool = True) -> None:
    """Kill the process while work is sent and done, start it again, and count the effects and the events.

    Unless the broker has noticed the kill, the new process waits until the sessions of the old one end.

    Raises:
        AssertionError: something was lost, done twice, or numbered with a gap, or the process did not stop in order.

    """
    names = [f"piece-{number}" for number in range(pieces)]
    sending = asyncio.create_task(_send_all(service, names))
    await eventually(lambda: _some_done(service, sending), despite=(TidemillError,))
    service.process.kill(noticed=noticed)
    await asyncio.to_thread(service.process.start)
    await sending
    for name in names[: pieces // 2]:  # a caller without an answer sends it again
        await service.send(name)
    await eventually(lambda: _all_done(service, names), despite=(TidemillError,))
    for topic in service.topics:
        await eventually(partial(_numbered_without_gaps, service, topic))
    assert Counter(await service.done()) == Counter(names)
    assert await asyncio.to_thread(service.process.stop) == 0, "it did not stop in order"


async def _send_all(service: Crashing, names: Sequence[str]) -> None:
    for name in names:
        await eventually(partial(_sent, service, name), despite=(TidemillError,))


async def _sent(service: Crashing, name: str) -> bool:
    await service.send(name)
    return True


async def _some_done(service: Crashing, sending: "asyncio.Task[None]") -> bool:
    """Return whether it is in the middle: something is done already, or all has been sent."""
    return sending.done() or len(await service.done()) > 0


async def _all_done(service: Crashing, names: Sequence[str]) -> bool:
    return set(await service.done()) >= set(names)


async def _numbered_without_gaps(service: Crashing, topic: str) -> bool:
    """Return whether the events of each subject are there from the first on, and the same whenever one came again.

    Raises:
        AssertionError: two events have one number, or one event has two bodies.

    """
    numbers: dict[str, set[int]] = defaultdict(set)
    bodies: dict[tuple[str, int], bytes] = {}
    async for record in read_topic(service.process.stack.kafka, topic):
        headers = {name: value.decode() for name, value in record.headers}
        if headers.get("ce_project") != service.project:
            continue
        subject, number = headers["ce_subject"], int(json.loads(record.value or b"{}")["seq"])
        numbers[subject].add(number)
        body = bodies.setdefault((subject, number), record.value or b"")
        assert body == record.value, f"event {number} of {subject} came again as another one"
    return bool(numbers) and all(found == set(range(1, max(found) + 1)) for found in numbers.values())
