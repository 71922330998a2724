"""What of FastStream a consumer uses: a batch subscriber that owns the client and its membership of the group."""

import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLOAuthBearer, SASLPlaintext, SASLScram256, SASLScram512

from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.connection import token_provider
from tidemill_kit.events.records import milliseconds
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.events.window import WindowLimits

ANSWER_S = 5.0
RETRY_S = 0.3
_METADATA_AGE_S = 30.0
_FETCH_BYTES = 16 * 1024 * 1024
"""Of all partitions together, compressed."""

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}

Records = tuple[ConsumerRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLimits:
    """Times of a consumer group's member. A drain must end well before the rebalance does."""

    records: int = 200
    """Records taken by one poll."""
    window: WindowLimits = field(default_factory=WindowLimits)
    poll_s: float = 0.1
    """How long a poll waits where a partition's window is full, or the partition is paused for that."""
    idle_poll_s: float = 0.5
    """How long a poll waits for records where there is space for all: they end it, and so many polls cost nothing."""
    fetch_s: float = 0.5
    """How long Kafka waits for records before it answers that there are none. Meanwhile the client does not ask it for
    partitions of which it had records, so that these may wait so long.
    """
    idle_fetch_s: float = 1.0
    """The same where a poll has found nothing, so that all partitions are asked for: a new record is an answer at once,
    and fewer questions cost less. It costs up to so long after a rebalance, and for the lag: Kafka answers the requests
    of a connection one after the other.
    """
    hold_s: float = 1.0
    """How long a partition's window may be full before the partition is paused; also the pause after a failure."""
    commit_every_s: float = 0.1
    lag_interval_s: float = 5.0
    """How often Kafka is asked where the topics end."""
    failures: int = 6
    """Polls that fail one after the other, until the consumer is made anew; there are some seconds between them."""
    drain_s: float = 10.0
    rebalance_s: float = 40.0
    session_s: float = 15.0
    max_poll_interval_s: float = 300.0
    """Irrelevant but for tests: polling never stops."""


def make_subscriber(  # noqa: PLR0913 - a subscriber is made of its parts, once
    servers: KafkaServers,
    subscription: Subscription,
    limits: ConsumerLimits,
    *,
    poll: Callable[[AIOKafkaConsumer], Coroutine[Any, Any, Records]],
    receive: Callable[[Records, AIOKafkaConsumer], Awaitable[None]],
    listener: ConsumerRebalanceListener,
) -> tuple[KafkaBroker, BatchSubscriber]:
    """Return a broker that is not started, and its one subscriber, which polls and hands on by these functions."""
    bearer = servers.sasl and servers.mechanism == "OAUTHBEARER"
    broker = KafkaBroker(
        servers.bootstrap,
        security=broker_security(servers),
        sasl_oauth_token_provider=token_provider(servers) if bearer else None,
        # A join is answered when the slowest member has let go, so its answer may take that long.
        request_timeout_ms=milliseconds(limits.rebalance_s + ANSWER_S),
        metadata_max_age_ms=milliseconds(_METADATA_AGE_S),
        client_id=f"{subscription.group}-{os.getpid()}",
        retry_backoff_ms=milliseconds(RETRY_S),
        consumer_only=True,
        apply_types=False,
        graceful_timeout=None,
        logger=logging.getLogger(__name__),
        log_level=logging.DEBUG,
    )
    pattern = subscription.pattern
    subscriber = broker.subscriber(
        *(() if pattern else subscription.topics),
        pattern=pattern or None,
        batch=True,
        ack_policy=AckPolicy.MANUAL,
        parser=_unparsed,
        decoder=_undecoded,
        group_id=subscription.group,
        auto_offset_reset="earliest",
        max_records=limits.records,
        fetch_max_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=milliseconds(limits.fetch_s),
        batch_timeout_ms=milliseconds(limits.poll_s),
        rebalance_timeout_ms=milliseconds(limits.rebalance_s),
        session_timeout_ms=milliseconds(limits.session_s),
        heartbeat_interval_ms=milliseconds(limits.session_s / 5),
        max_poll_interval_ms=milliseconds(limits.max_poll_interval_s),
        listener=listener,
    )

    async def handle(records: tuple[ConsumerRecord, ...]) -> None:
        await receive(records, subscriber.consumer)

    subscriber(handle)
    # FastStream's own poll would lose what it had drained when one record in it cannot be read.
    subscriber.get_msg = poll  # type: ignore[assignment, method-assign]
    return broker, subscriber


def broker_security(servers: KafkaServers) -> BaseSecurity:
    """Return the servers' security as FastStream has it."""
    context = servers.ssl_context()
    if not servers.sasl:
        return BaseSecurity(ssl_context=context)
    if servers.mechanism == "OAUTHBEARER":
        return SASLOAuthBearer(ssl_context=context)
    return _SASL[servers.mechanism](servers.username, servers.password.read(), ssl_context=context)


async def _unparsed(polled: tuple[ConsumerRecord, ...]) -> StreamMessage[Any]:
    """Spare FastStream the parsing: one header value that is not UTF-8 would cost the handler the whole poll."""
    return StreamMessage(polled, body=b"")


async def _undecoded(message: StreamMessage[Any]) -> Any:  # noqa: ANN401 - whatever FastStream was given
    """Hand over the records as they are: decoding the whole poll at once, one broken value would hide all others."""
    return message.raw_message
