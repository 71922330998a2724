"""What a member takes from its consumer where polls break off, without a broker."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher

from libs.kit.tests.events.engine_harness import Given
from libs.kit.tests.events.harness import QUICK, FlakyPublisher
from tidemill_kit.events.consumer import ConsumerRunner
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import Partition, Unreadable
from tidemill_kit.events.subscriber import ConsumerLimits
from tidemill_kit.events.subscriptions import Delivery, Subscription
from tidemill_kit.events.window import WindowLimits

ONE, TWO = TopicPartition("tests", 0), TopicPartition("tests", 1)


@dataclass
class Consumer:
    """Breaks on polls of several partitions, and gives one record of each when it is asked for that one."""

    before_second: Callable[[], Awaitable[None]]
    sought: list[tuple[TopicPartition, int]] = field(default_factory=list)
    asked: int = 0
    _fetcher: SimpleNamespace = field(default_factory=SimpleNamespace)

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

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 0
    ) -> dict[TopicPartition, list[Unreadable]]:
        assert timeout_ms
        assert max_records
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


class Silent(Consumer):
    """Has no records, and takes the time that it is given to say so."""

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 0
    ) -> dict[TopicPartition, list[Unreadable]]:
        assert partitions
        assert max_records
        await asyncio.sleep(timeout_ms / 1000)
        return {}


class Idle(Consumer):
    """Has no records but those that are `given`, and knows how long it was waited for them; `held` are paused."""

    waited_ms: int = 0
    held: frozenset[TopicPartition] = frozenset()
    given: tuple[Unreadable, ...] = ()

    @property
    def kafka_waits_ms(self) -> int:
        return int(self._fetcher._fetch_max_wait_ms)  # noqa: SLF001 - aiokafka's

    def paused(self) -> set[TopicPartition]:
        return set(self.held)

    def resume(self, *partitions: TopicPartition) -> None:
        assert set(partitions) == self.held

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int = 0
    ) -> dict[TopicPartition, list[Unreadable]]:
        assert partitions
        assert max_records
        self.waited_ms = timeout_ms
        return {ONE: list(self.given)} if self.given else {}


def runner(limits: ConsumerLimits | None = None, *, gather_s: float = 0.0) -> ConsumerRunner:
    subscription = Subscription(
        name="tests.poll", topics=("tests",), delivery=Delivery.ONCE, routes={}, gather_s=gather_s
    )
    return ConsumerRunner(
        "nowhere", Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK), limits=limits
    )


async def test_a_poll_that_breaks_off_is_made_anew_for_each_partition() -> None:
    consumer = Consumer(nothing)

    assert {(each.partition, each.offset) for each in await runner()._poll(consumer)} in (  # noqa: SLF001 - FastStream's
        {(0, 5), (1, 6)},
        {(1, 5), (0, 6)},
    )


async def test_where_partitions_are_asked_for_one_by_one_kafka_waits_as_short_as_where_one_is_full() -> None:
    member, consumer = runner(ConsumerLimits(fetch_s=1, idle_fetch_s=3)), Consumer(nothing)

    await member._poll(consumer)  # noqa: SLF001 - FastStream's

    assert vars(consumer._fetcher) == {"_fetch_max_wait_ms": 1000}  # noqa: SLF001 - aiokafka's


def test_what_a_rebalance_waits_for_is_a_second_at_most() -> None:
    assert ConsumerLimits().idle_fetch_s <= 1


async def test_a_rebalance_between_the_partitions_of_a_broken_poll_leaves_all_records_to_the_next_one() -> None:
    async def rebalance() -> None:
        await member.on_partitions_revoked({ONE, TWO})
        await member.on_partitions_assigned({ONE, TWO})

    member, consumer = runner(), Consumer(rebalance)

    assert await member._poll(consumer) == ()  # noqa: SLF001 - FastStream's
    second, offset = consumer.sought[-1]
    assert (second, offset) == (consumer.sought[-2][0], 6), "what came after the rebalance comes again"


@pytest.mark.parametrize("full", [(0, 1), (0,)])
async def test_polling_goes_on_as_soon_as_a_commit_makes_space_in_a_full_partition(full: tuple[int, ...]) -> None:
    member = runner(ConsumerLimits(poll_s=60, window=WindowLimits(uncommitted=1)))
    records = [Given(offset=0, partition=number) for number in full]
    member._window.add(member._engine.pending_records(records))  # noqa: SLF001 - what polls have filled
    polling = asyncio.create_task(member._poll(Silent(nothing)))  # noqa: SLF001 - FastStream's
    await asyncio.sleep(0.05)
    assert not polling.done()

    member._window.committed({Partition("tests", 0): 1})  # noqa: SLF001 - what a commit does

    async with asyncio.timeout(10):
        assert await polling == ()


@pytest.mark.parametrize(("held", "waited_ms"), [(frozenset[TopicPartition](), 2000), (frozenset({ONE}), 1000)])
async def test_records_are_waited_for_longer_where_no_partition_waits_to_be_resumed(
    held: frozenset[TopicPartition], waited_ms: int
) -> None:
    consumer = Idle(nothing)
    consumer.held = held

    await runner(ConsumerLimits(poll_s=1, idle_poll_s=2))._poll(consumer)  # noqa: SLF001 - FastStream's

    assert consumer.waited_ms == waited_ms


def test_how_long_kafka_waits_is_read_for_each_request() -> None:
    assert "_fetch_max_wait_ms" in Fetcher._get_actions_per_node.__code__.co_names  # noqa: SLF001 - aiokafka's


async def test_kafka_waits_longer_for_records_where_all_partitions_are_asked_for_and_have_none() -> None:
    member, consumer = runner(ConsumerLimits(poll_s=0, idle_poll_s=0, fetch_s=1, idle_fetch_s=3)), Idle(nothing)
    waited = list[int]()
    given = (Unreadable(topic="tests", partition=0, offset=5),)
    for held, records in (
        (frozenset[TopicPartition](), ()),
        (frozenset({ONE}), ()),
        (frozenset[TopicPartition](), given),
    ):
        consumer.held, consumer.given = held, records
        await member._poll(consumer)  # noqa: SLF001 - FastStream's
        waited.append(consumer.kafka_waits_ms)

    assert waited == [3000, 1000, 1000]


async def test_a_poll_waits_after_few_records_where_they_are_gathered_and_after_none_or_many_it_does_not() -> None:
    records = tuple(Unreadable(topic="tests", partition=0, offset=offset) for offset in range(2))
    consumer, loop, member = Idle(nothing), asyncio.get_running_loop(), runner(gather_s=0.2)

    async def seconds_of_poll(polling: ConsumerRunner, *given: Unreadable) -> float:
        consumer.given, begun = given, loop.time()
        assert len(await polling._poll(consumer)) == len(given)  # noqa: SLF001 - what the pump calls
        return loop.time() - begun

    assert await seconds_of_poll(member, *records) < 0.2
    assert await seconds_of_poll(member) >= 0.19
    assert await seconds_of_poll(member) < 0.2
    full = runner(ConsumerLimits(records=2), gather_s=60)
    await seconds_of_poll(full, *records)
    assert await seconds_of_poll(full) < 60
