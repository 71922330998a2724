"""A process that was killed leaves its groups at once, in tests."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer

from tidemill_local import Addresses
from tidemill_testkit.sessions import end_sessions
from tidemill_testkit.stack import NewTopicFactory, unique_name

LONG_MS = 240_000
MEMBER = f"""
import asyncio, os, sys
from aiokafka import AIOKafkaConsumer

async def main(kafka, topic, group):
    limits = {{"session_timeout_ms": {LONG_MS}, "rebalance_timeout_ms": {LONG_MS}, "request_timeout_ms": {LONG_MS}}}
    name = f"{{group}}-{{os.getpid()}}"
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka, group_id=group, client_id=name, **limits) as member:
        while not member.assignment():
            await asyncio.sleep(0.02)
        print("assigned", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_next_member_does_not_wait_for_the_session_of_one_that_was_killed(
    stack: Addresses, new_topic: NewTopicFactory
) -> None:
    topic, group = await new_topic(), unique_name("group")
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEMBER, stack.kafka, topic, group), stdout=asyncio.subprocess.PIPE
    )
    assert killed.stdout is not None
    assert await killed.stdout.readline() == b"assigned\n"
    killed.kill()
    await killed.wait()

    await end_sessions(stack.kafka, killed.pid)

    async with asyncio.timeout(LONG_MS / 1000 / 2):
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=stack.kafka, group_id=group, client_id="next", request_timeout_ms=LONG_MS
        ) as following:
            while not following.assignment():  # noqa: ASYNC110 - the library sets no event
                await asyncio.sleep(0.02)
