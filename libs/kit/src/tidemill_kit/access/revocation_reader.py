"""Reads the access topic: all of it before the first call is answered, then each record as it comes.

It has revocations, grants, legal holds and retention.
"""

import asyncio

import structlog
from prometheus_client import Gauge

from tidemill_core.errors import DependencyUnavailable, isolated
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.access import holds as legal_holds
from tidemill_kit.access import retention as retentions
from tidemill_kit.access.grants import Grants
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.retention import Retention
from tidemill_kit.access.revocations import TOPIC, Revocations
from tidemill_kit.events.cloudevents import attributes_of
from tidemill_kit.events.kafka import follow_topic
from tidemill_kit.events.records import KAFKA, Record
from tidemill_kit.workers.worker import Worker

REVOCATIONS = Gauge("tidemill_access_revocations", "Revocations of credentials that are remembered.")
REVOCATIONS_AGE = Gauge(
    "tidemill_access_revocations_age_seconds", "Time since Kafka last answered the reader of revocations."
)

_START_S = 15.0
_RETRY_S = 1.0

_log = structlog.get_logger()


class RevocationReader(Worker):
    """Every process reads for itself, without a consumer group: nothing is ever committed."""

    def __init__(  # noqa: PLR0913 - what it feeds
        self,
        servers: KafkaServers | str,
        revocations: Revocations,
        *,
        grants: Grants | None = None,
        holds: Holds | None = None,
        retention: Retention | None = None,
        topic: str = TOPIC,
        start_s: float = _START_S,
    ) -> None:
        super().__init__("revocations", self._follow)
        self._servers = servers
        self._start_s = start_s
        self._revocations = revocations
        self._grants = grants or Grants(revocations)
        self._holds = holds or Holds(revocations)
        self._retention = retention or Retention()
        self._topic = topic
        self._caught_up = asyncio.Event()
        self._interrupted = False
        self._hold_ended = False

    async def start(self) -> None:
        """Return when all that the topic holds was read.

        Raises:
            DependencyUnavailable: Kafka does not answer, or has no such topic; call it again.

        """
        REVOCATIONS_AGE.set_function(lambda: self._revocations.age_s)
        if self._task is None or self._task.done():
            await super().start()
        try:
            async with asyncio.timeout(self._start_s):
                await self._caught_up.wait()
        except TimeoutError:
            message = f"{self._topic} was not read within {self._start_s:g} s"
            raise DependencyUnavailable(message, dependency=KAFKA) from None

    async def _follow(self) -> None:
        while True:
            failure: Exception | None = None
            try:
                with isolated():  # the client cancels a fetch of its own when it is stopped, and raises that
                    await self._read()
            except DependencyUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - whatever ends the reading, the service goes on and reads again
                failure = error
            self._revocations.interrupted()
            if not self._interrupted:  # once, however long it lasts
                _log.warning("access_revocations_interrupted", topic=self._topic, exc_info=failure)
            self._interrupted = True
            held = self._revocations
            if held.age_s > held.hold_s and not self._hold_ended:
                _log.error("access_revocations_too_old", topic=self._topic, hold_s=held.hold_s)
                self._hold_ended = True
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        reading = True
        async for record in follow_topic(self._servers, self._topic):
            if record is None:
                self._revocations.contact()
                if reading:
                    self._revocations.caught_up()
                    self._caught_up.set()
                    self._interrupted = self._hold_ended = reading = False
                    _log.info("access_revocations_read", revocations=self._revocations.count)
            elif record.value and not self._apply(record, record.value):
                _log.error("access_revocation_unreadable", topic=self._topic, offset=record.offset)
            REVOCATIONS.set(self._revocations.count)

    def _apply(self, record: Record, value: bytes) -> bool:
        """Give a record to what it is for; return whether it could be read."""
        ce_type = attributes_of(record.headers).get("type")
        if ce_type == legal_holds.CHANGED:
            return self._holds.apply(value, key=(record.key or b"").decode("utf-8", "replace"))
        if ce_type == retentions.CHANGED:
            return self._retention.apply(value)
        return self._revocations.apply(value) or self._grants.apply(value)
