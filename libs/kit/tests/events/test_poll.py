"""What a member takes from its consumer where polls break off, without a broker."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from libs.kit.tests.events.harness import QUICK, FlakyPublisher
from tidemill_kit.events.consumer import ConsumerRunner
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import Unreadable
from tidemill_kit.events.subscriptions import Delivery, Subscription

ONE, TWO = TopicPartition("tests", 0), TopicPartition("tests", 1)


@dataclass
class Consumer:
    """Breaks on polls of several partitions, and gives one record of each when it is asked for that one."""

    before_second: Callable[[], Awaitable[None]]
    sought: list[tuple[TopicPartition, int]] = field(default_factory=list)
    asked: int = 0

    def assignment(self) -> set[TopicPartition]:
        return {ONE, TWO}

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, *partitions: TopicPartition) -> None:
        assert not partitions

    def resume(self, *partitions: TopicPartition) -> None:
        assert not partitions

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def committed(self, _: TopicPartition) -> int:
        return 5

    async def position(self, _: TopicPartition) -> int:
        return 5

    async def getmany(self, *partitions: TopicPartition, **_: int) -> dict[TopicPartition, list[Unreadable]]:
        if len(partitions) > 1:
            message = "a header is not UTF-8"
            raise ValueError(message)
        self.asked += 1
        if self.asked == 2:
            await self.before_second()
        (partition,) = partitions
        return {partition: [Unreadable(topic="tests", partition=partition.partition, offset=4 + self.asked)]}


async def nothing() -> None:
    """Let the second partition be asked as the first one was."""


def runner() -> ConsumerRunner:
    subscription = Subscription(name="tests.poll", topics=("tests",), delivery=Delivery.ONCE, routes={})
    return ConsumerRunner("nowhere", Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK))


async def test_a_poll_that_breaks_off_is_made_anew_for_each_partition() -> None:
    consumer = Consumer(nothing)

    assert {(each.partition, each.offset) for each in await runner()._poll(consumer)} in (  # noqa: SLF001 - FastStream's
        {(0, 5), (1, 6)},
        {(1, 5), (0, 6)},
    )


async def test_a_rebalance_between_the_partitions_of_a_broken_poll_leaves_all_records_to_the_next_one() -> None:
    async def rebalance() -> None:
        await member.on_partitions_revoked({ONE, TWO})
        await member.on_partitions_assigned({ONE, TWO})

    member, consumer = runner(), Consumer(rebalance)

    assert await member._poll(consumer) == ()  # noqa: SLF001 - FastStream's
    second, offset = consumer.sought[-1]
    assert (second, offset) == (consumer.sought[-2][0], 6), "what came after the rebalance comes again"
