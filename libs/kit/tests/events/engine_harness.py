"""One engine over records that a test makes, with effects, dead letters and a clock of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import REGISTRY

from libs.kit.tests.events.harness import QUICK, WRITTEN, Effects, FlakyPublisher, Line, event_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Route, Subscription

BEGUN = "tests.line.begun.v1"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A record as a broker would give it."""

    offset: int
    value: bytes | None = b'{"number": 0}'
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "tests"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = b"k"


def line(
    offset: int, number: int, *, subject: str = "kb/1", event_id: str = "", partition: int = 0, **attributes: str
) -> Given:
    headers = event_headers(event_id or f"{subject}-{offset}", subject, **attributes)
    return Given(offset=offset, value=b'{"number": "%d"}' % number, headers=headers, partition=partition)


def numbered(offset: int, seq: int, *, subject: str = "kb/1", event_id: str = "", **attributes: str) -> Given:
    return line(offset, seq, subject=subject, event_id=event_id, partition=0, sequence=str(seq), **attributes)


@dataclass
class Harness:
    effects: Effects = field(default_factory=Effects)
    publisher: FlakyPublisher = field(default_factory=lambda: FlakyPublisher(failures=0))
    refusals: list[Refusal] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    delivery: Delivery = Delivery.ONCE
    deleted: set[str] = field(default_factory=set)
    of_deleted: bool = False

    def engine(self) -> Engine:
        async def handle(context: EventContext, body: Line) -> None:
            if self.raised:
                raise self.raised.pop(0)
            await self.effects.write(context, body)

        async def refused(refusal: Refusal) -> None:
            self.refusals.append(refusal)

        subscription = Subscription(
            name="tests.engine",
            topics=("tests",),
            delivery=self.delivery,
            routes={WRITTEN: Route(Line, handle)},
            refused=refused,
            of_deleted=self.of_deleted,
        )
        return Engine(
            subscription, dead_letters=self.publisher, limits=QUICK, deleted=lambda project: project in self.deleted
        )

    async def handle(self, *records: Given) -> Engine:
        engine = self.engine()
        window = engine.take(records)
        assert await window.wait(10)
        assert window.left_over() == {}
        return engine

    @property
    def reasons(self) -> list[str]:
        return [dict(record.headers)["tidemill_dead_reason"].decode() for record in self.publisher.published]


def events_counted(*, outcome: str, ce_type: str = WRITTEN) -> float:
    labels = {"consumer": "tests.engine", "type": ce_type, "outcome": outcome}
    return REGISTRY.get_sample_value("tidemill_events_total", labels) or 0
