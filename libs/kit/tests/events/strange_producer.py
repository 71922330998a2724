"""Writes a record whose header has a name that is not UTF-8, as only a client in another language can.

AIOKAFKA_NO_EXTENSIONS=1 python strange_producer.py BOOTSTRAP TOPIC
"""

import asyncio
import sys

from aiokafka import AIOKafkaProducer


class Strange(str):
    """A name that is sent as bytes of its own."""

    __slots__ = ()

    def encode(self, *_encoding: str) -> bytes:
        """Return what no decoder takes."""
        return b"\xff\xfe"


async def main(bootstrap: str, topic: str) -> None:
    """Write the record to partition 0."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, b"{}", headers=[(Strange("x"), b"value")], partition=0)


asyncio.run(main(*sys.argv[1:]))
