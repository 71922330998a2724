"""An origin that has what a test says, and stores in memory of what is known of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from services.ingest.tests.fakes import Ingest
from tidemill_core.application import Request, Requeue, ResourceKey
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import document_id
from tidemill_ingest.documents.polled import PolledDocuments
from tidemill_ingest.errors import OriginFailed
from tidemill_ingest.polling.domain.objects import ListedObject, Listing, PolledObject
from tidemill_ingest.polling.domain.origin import Polling, S3Origin
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_ingest.polling.poll_source import PollSource
from tidemill_ingest.polling.ports import OpenOrigin
from tidemill_ingest.sources.domain import Source

WIKI = ResourceKey(project="acme", id="wiki")
BUCKET = S3Origin(endpoint="https://s3.acme.example", bucket="kb-pages")


@dataclass
class PolledObjectsHere:
    """Implements `ports.PolledObjects`."""

    rows: dict[tuple[str, str], dict[str, PolledObject]] = field(default_factory=dict)
    page_size: int = 2

    async def page(self, project: str, source: str, *, after: str = "") -> Sequence[PolledObject]:
        rows = self.rows.get((project, source), {})
        return [rows[key] for key in sorted(rows) if key > after][: self.page_size]

    async def put(self, project: str, source: str, objects: Sequence[PolledObject]) -> None:
        self.rows.setdefault((project, source), {}).update({each.key: each for each in objects})

    async def remove(self, project: str, source: str, keys: Sequence[str]) -> None:
        for key in keys:
            self.rows.get((project, source), {}).pop(key, None)

    async def remove_all(self, project: str, source: str) -> None:
        self.rows.pop((project, source), None)


@dataclass
class OriginHere:
    """Implements `ports.Origins` and `ports.OpenOrigin`."""

    files: dict[str, bytes] = field(default_factory=dict)
    fails: OriginFailed | None = None
    on_read: Callable[[str], None] = lambda _: None
    read_keys: list[str] = field(default_factory=list)
    position: str = ""

    @asynccontextmanager
    async def open(self, project: str, polling: Polling) -> AsyncIterator[OpenOrigin]:
        assert project
        if self.fails:
            raise self.fails
        self.polling = polling
        yield self

    async def listing(self, known: str = "") -> Listing | None:
        if self.position and known == self.position:
            return None
        taken = [key for key in self.files if self.polling.takes(key)]
        objects = [self._listed(key) for key in reversed(taken)]
        return Listing(objects=objects, position=self.position, skipped=len(self.files) - len(taken))

    async def read(self, listed: ListedObject) -> bytes | None:
        self.on_read(listed.key)
        self.read_keys.append(listed.key)
        if listed.key not in self.files or self._listed(listed.key) != listed:
            return None
        return self.files[listed.key]

    def _listed(self, key: str) -> ListedObject:
        content = self.files[key]
        return ListedObject(key=key, version=sha256(content).hexdigest(), size=len(content))


@dataclass
class Polled:
    """A source of acme that is polled, and all that its polls need."""

    ingest: Ingest
    origin: OriginHere = field(default_factory=OriginHere)
    objects: PolledObjectsHere = field(default_factory=PolledObjectsHere)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.submissions = PolledDocuments(
            accept=self.ingest.accept,
            delete_document=self.ingest.delete,
            reject=self.ingest.reject,
            limits=self.ingest.limits,
        )
        self.poll_source = PollSource(
            sources=self.ingest.sources,
            polls=self.ingest.polls,
            objects=self.objects,
            origins=self.origin,
            submissions=self.submissions,
            projects=self.ingest.projects,
            clock=self.ingest.clock,
            conversion="c1",
        )

    async def with_source(self, **polling: object) -> "Polled":
        declared = Polling(**{"s3": BUCKET, **polling})  # type: ignore[arg-type] # what a test says
        source = Source(id="wiki", project="acme", polling=declared, polling_changed=True)
        await self.ingest.sources.add(source, request=Request.internal())
        return self

    async def poll(self, *, after: timedelta = timedelta(hours=2)) -> SourcePoll:
        """Do what the controller does once the source is due, until there is nothing left; return how it went."""
        self.ingest.clock.advance(after)
        while await self.once() is not None:
            self.ingest.clock.advance(timedelta(seconds=30))
        return await self.ingest.polls.get("acme", "wiki")

    async def once(self) -> Requeue | None:
        self.epoch += 1
        return await self.poll_source(WIKI, epoch=self.epoch)

    async def document(self, key: str) -> Document:
        return await self.ingest.documents.get("acme", document_id("acme", "wiki", key))

    def states(self) -> dict[str, str]:
        return {each.key: each.state.value for each in self.ingest.documents.all()}
