"""How many records of its partitions a member of a consumer group has not committed yet."""

from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import Gauge

LAG = Gauge("tidemill_event_lag", "Records not committed yet.", ["consumer", "topic", "partition"])


class Lag:
    """The lag of one subscription: from what is committed to where the topics end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reached: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Count from this offset, where nothing is known to be committed."""
        self._reached.setdefault(partition, offset)

    def committed(self, offsets: Mapping[TopicPartition, int], consumer: AIOKafkaConsumer) -> None:
        """Count from these offsets on, and report."""
        self._reached |= offsets
        self._report(consumer)

    async def ask(self, consumer: AIOKafkaConsumer, is_current: Callable[[], bool]) -> None:
        """Ask where the group stands and the topics end; what a rebalance has overtaken is dropped."""
        assigned = consumer.assignment()
        if not assigned:
            return
        ends = await consumer.end_offsets(assigned)
        beginnings = await consumer.beginning_offsets(assigned - self._reached.keys())
        committed = {tp: await consumer.committed(tp) for tp in beginnings}
        if is_current():
            self._ends = ends
            for tp, offset in committed.items():
                self.begin(tp, beginnings[tp] if offset is None else offset)
            self._report(consumer)

    def of(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Return the lag of each assigned partition that something is known of."""
        known = [tp for tp in consumer.assignment() if tp in self._reached]
        ends = {tp: max(consumer.highwater(tp) or 0, self._ends.get(tp, 0)) for tp in known}
        return {tp: max(0, end - self._reached[tp]) for tp, end in ends.items()}

    def clear(self) -> None:
        """Forget the partitions: another member may have them."""
        for topic, number in self._reached:
            LAG.remove(self._name, topic, number)
        self._reached.clear()
        self._ends = {}

    def _report(self, consumer: AIOKafkaConsumer) -> None:
        for (topic, number), lag in self.of(consumer).items():
            LAG.labels(self._name, topic, number).set(lag)
