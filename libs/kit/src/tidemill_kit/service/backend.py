"""What a service stands on: MongoDB, Kafka, an object store and channels, as one value that its `app.py` calls."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Protocol, TypeVar
from uuid import uuid4

import grpc

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_core.errors import NotFound
from tidemill_core.grpc.client import open_channel
from tidemill_core.grpc.credentials import FileCredential
from tidemill_core.quotas import Quota
from tidemill_kit.access.access import Access
from tidemill_kit.access.grants import Shared, SharedNames
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.retention import Retention
from tidemill_kit.access.submissions import SubmissionCheck
from tidemill_kit.audit.trail import COLLECTION, MongoAuditTrail
from tidemill_kit.erasure.codec import ErasureCodec
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.erased import ErasedSubjects
from tidemill_kit.erasure.erasures import COLLECTION as ERASURES
from tidemill_kit.erasure.erasures import LEASES as ERASURE_LEASES
from tidemill_kit.erasure.erasures import REPORTS, ErasureNotFound
from tidemill_kit.erasure.events import requests
from tidemill_kit.erasure.reconcile import ReconcileErasure
from tidemill_kit.erasure.steps import Scope, Steps
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.grpc.server import Registration, admission_of
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.service.app import App, Component, Dependency
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import Codec, MongoAggregates
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.pending import PendingDocuments

A = TypeVar("A", bound=Aggregate)
_CHANNEL_TIMEOUT_S = 10.0
_MAX_ERASURES = 2
"""At the same time, in each process."""


class Indexed(Protocol):
    """A store that has indexes of its own."""

    async def ensure_indexes(self) -> None:
        """Create them; idempotent."""


S = TypeVar("S", bound=Indexed)


class Backend:
    """The clients and stores of one service, from its settings; nothing connects before the app starts.

    The app starts its components in this order, and stops them in the reverse one:

    1. the stores: buckets, indexes and what `on_start` was given. They close last: everything else uses them.
    2. publisher, relay and the audit trail.
    3. `components`: what the work is done with, such as engines and pools of processes.
    4. `workers`: controllers and sweeps.
    5. consumers, and last `servers`, such as one for HTTP.

    Entry points start last and stop first. A handler enqueues work and saves events, so all that it calls has to run
    before its first record and until its last: a controller that stopped before the consumers would leave what they
    enqueue while they drain to the resync of another process.
    """

    def __init__(self, settings: ServiceSettings, *, serves_without_objects: bool = False) -> None:
        """Prepare; `serves_without_objects` says that requests can be answered while the object store is down."""
        self.settings = settings
        client = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)
        self.database: mongo.Database = client[settings.mongo_database]
        self.publisher = Publisher(settings.kafka)
        self.relay = Relay(self.publisher)
        self.objects = ObjectStore(
            settings.s3_endpoint,
            settings.s3_access_key,
            settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
            max_concurrent=settings.s3_max_concurrent,
            timeout_s=settings.s3_timeout_s,
        )
        self.dependencies = [
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=self.objects.ping, needed_to_serve=not serves_without_objects),
            Dependency(name="kafka", probe=self.publisher.ping, needed_to_serve=False),
        ]
        """What the service needs; a service appends its own."""
        self.admission = admission_of(settings)
        """The places for RPCs, by whichever API they come."""
        self.access = Access.of(settings)
        """What checks credentials."""
        self._owner = str(uuid4())
        self._leased: list[str] = []
        self._stores = _Stores(client)
        self.erased = self.indexed(ErasedSubjects(self.database[ERASURES]))
        """Says of subjects until when what came of them is erased, so that what is late is not stored again."""
        self.audit = self._audit_trail()
        """What records the calls of audited RPCs, in a collection of its own whose outbox the relay empties."""

    def aggregates(  # noqa: PLR0913 - what a kind of aggregates is, declared once in app.py
        self,
        name: str,
        codec: Codec[A],
        *,
        missing: Callable[[str], NotFound],
        topic: str = "",
        lists: Sequence[Sequence[str]] = (),
        usually_new: bool = False,
        in_rounds: bool = False,
        quota: Quota | None = None,
    ) -> MongoAggregates[A]:
        """Return the aggregates in the collection `name`: their indexes are created, and events go out to `topic`.

        `in_rounds` is for what comes in numbers: events that come shortly after one another go out together.
        """
        collection = self.database[name]
        enqueue = self.relay.enqueuer(collection, in_rounds=in_rounds or usually_new) if topic else lambda _: None
        return self.indexed(
            MongoAggregates(
                collection,
                codec=codec,
                topic=topic,
                source=f"/tidemill/{self.settings.service}",
                missing=missing,
                lists=lists,
                usually_new=usually_new,
                quota=quota,
                enqueue=enqueue,
            )
        )

    @property
    def holds(self) -> Holds:
        """The legal holds."""
        return self.access.holds

    @property
    def retention(self) -> Retention:
        """What projects have set."""
        return self.access.retention

    def _erasures(self, steps: Steps) -> tuple[Controller[ResourceKey], Subscription]:
        """Return what carries requested erasures out, and the consumer of them."""
        settings = self.settings
        rows = self.aggregates(
            ERASURES,
            ErasureCodec(settings.service),
            missing=ErasureNotFound,
            topic=REPORTS,
        )
        of_projects = [
            *steps.get(Scope.PROJECT, ()),
            *(documents("leases", self.database[name]) for name in self._leased),
        ]
        poll = timedelta(seconds=settings.erasure_poll_interval_s)
        reconcile = ReconcileErasure(
            erasures=rows,
            steps={**steps, Scope.PROJECT: of_projects},
            holds=self.holds,
            clock=SystemClock(),
            recheck=timedelta(seconds=settings.erasure_recheck_s),
            poll=poll,
        )
        collection = self.database[ERASURES]
        unfinished = {"state.pending": True}
        controller = Controller(
            "erasures",
            reconcile=lambda key, epoch: reconcile(key, epoch=epoch),
            pending=self.indexed(PendingDocuments(collection, unfinished, index="state.pending", sparse=True)),
            leases=self.leases(ERASURE_LEASES),
            max_concurrent=_MAX_ERASURES,
            poll_interval=poll,
        )
        return controller, requests(settings.service, rows, controller.enqueue)

    def _audit_trail(self) -> MongoAuditTrail:
        collection = self.database[COLLECTION]
        return self.indexed(
            MongoAuditTrail(
                collection,
                service=self.settings.service,
                enqueue=self.relay.enqueuer(collection, passing=True, in_rounds=True),
                hold=timedelta(seconds=self.settings.audit_hold_s),
            )
        )

    def indexed(self, store: S) -> S:
        """Return the store, whose indexes are created at the start."""
        self.on_start(store.ensure_indexes)
        return store

    def leases(self, name: str, *, removable: bool = True) -> Leases:
        """Return leases in the collection `name`, which last `lease_ttl_s`; not `removable` where it has other data."""
        ttl = timedelta(seconds=self.settings.lease_ttl_s)
        if removable:
            self._leased.append(name)
        return Leases(
            self.database[name],
            owner=self._owner,
            ttl=ttl,
            clock=SystemClock(),
            removable=removable,
            deleted=self.access.revocations.deleted,
        )

    def own_bucket(self, name: str) -> ExchangeBucket:
        """Return an exchange bucket of this service, which is created at the start."""
        self.on_start(lambda: self.objects.ensure_bucket(name))
        return self.bucket(name)

    def bucket(self, name: str) -> ExchangeBucket:
        """Return an exchange bucket of another service."""
        return ExchangeBucket(self.objects, name)

    def channel(self, name: str, address: str, *, timeout_s: float = _CHANNEL_TIMEOUT_S) -> grpc.aio.Channel:
        """Return a channel to another service, closed at the end; calls carry this service's own credential."""
        file = self.settings.access_credential_file
        channel = open_channel(
            address,
            name=name,
            timeout_s=timeout_s,
            tls=self.settings.tls,
            credential=FileCredential(file) if file else None,
            on_behalf=True,
        )
        self.on_stop(channel.close)
        return channel

    def on_start(self, prepare: Callable[[], Awaitable[object]]) -> None:
        """Prepare something before all components start; repeating it must change nothing."""
        self._stores.preparations.append(prepare)

    def on_stop(self, close: Callable[[], Awaitable[object]]) -> None:
        """Close something after all components have stopped; what was registered last is closed first."""
        self._stores.closing.push_async_callback(close)

    def shared(self, kind: Shared) -> SharedNames:
        """Return what finds the resources of this kind that a project names."""
        return SharedNames(self.access.grants, kind)

    def submission_check(self, topics: Sequence[str], *, tolerance_s: float) -> SubmissionCheck:
        """Return what submissions prove their publisher to."""
        return SubmissionCheck(tuple(topics), self.access.authenticator, tolerance_s=tolerance_s)

    def app(  # noqa: PLR0913 - the parts of a service
        self,
        *,
        servicers: Sequence[Registration],
        erasures: Steps,
        consumers: Sequence[Subscription] = (),
        components: Sequence[Component] = (),
        workers: Sequence[Component] = (),
        servers: Sequence[Component] = (),
    ) -> App:
        """Return the app of these parts, in the order that the class describes; `erasures` are what it erases."""
        controller, requested = self._erasures(erasures)
        deleted = self.access.revocations.deleted
        subscribed = Consumers(self.settings.kafka, [*consumers, requested], self.publisher, deleted=deleted)
        first = (*self.access.components, self._stores, self.publisher, self.relay, self.audit)
        return App(
            settings=self.settings,
            servicers=servicers,
            dependencies=self.dependencies,
            components=[*first, *components, *workers, controller, subscribed, *servers],
            admission=self.admission,
            access=self.access,
            audit=self.audit,
            consumers=subscribed.status,
            outbox_length=self.relay.outbox_length,
        )


class _Stores:
    """The component that prepares what the others write to."""

    name = "stores"

    def __init__(self, client: mongo.Client) -> None:
        self.preparations: list[Callable[[], Awaitable[object]]] = []
        self.closing = AsyncExitStack()
        self.closing.callback(client.close)

    async def start(self) -> None:
        for prepare in self.preparations:
            await prepare()

    async def stop(self) -> None:
        await self.closing.aclose()
