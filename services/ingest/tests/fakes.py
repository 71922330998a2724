"""Ingest with stores in memory: the same use cases, the same extraction and masking, nothing on a network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.ingest.tests.blocks import BlocksHere
from services.ingest.tests.fake_stores import CursorHere, OutboxHere, RecordsHere, VersionTextsHere
from services.ingest.tests.fingerprints import FingerprintsHere
from services.ingest.tests.keys import project_secrets
from services.ingest.tests.labelled import LabelsHere
from services.ingest.tests.profiled import ProfilesHere
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import NotFound
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.masking import mask_examples
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.boilerplate import FindBoilerplate
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument, ReadDocuments
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.domain.submission import DocumentName, DocumentSpec, Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.duplicates import CompareDocuments, JudgeDuplicates
from tidemill_ingest.documents.erase_document import EraseDocument
from tidemill_ingest.documents.events import Submissions
from tidemill_ingest.documents.mongo import DOCUMENTS
from tidemill_ingest.documents.objects import ExchangeTexts, ObjectStoreQuarantine
from tidemill_ingest.documents.ports import NameMasking, SweepRules
from tidemill_ingest.documents.preparation import digested, mask_text, prepare_document, read_members
from tidemill_ingest.documents.reject_submission import RejectSubmission
from tidemill_ingest.documents.reveal_pseudonyms import RevealPseudonyms
from tidemill_ingest.documents.sweep import Sweep
from tidemill_ingest.documents.unpack_document import MEMBERS_AGAIN, UnpackDocument
from tidemill_ingest.documents.withheld import JudgeDocuments, ReleaseDocument
from tidemill_ingest.errors import DocumentNotFound, NamesModelUnusable, SourceNotFound
from tidemill_ingest.formats import is_listing
from tidemill_ingest.limits import ConversionLimits, Limits
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.masking.pseudonyms import Pseudonyms
from tidemill_ingest.members import Allowance, ReadMember
from tidemill_ingest.polling.domain.poll import SourcePoll
from tidemill_ingest.polling.mongo import POLLS, PollNotFound
from tidemill_ingest.profiles.count_versions import CountVersions
from tidemill_ingest.quality.boilerplate import BoilerplateRules
from tidemill_ingest.quality.policy import Quality
from tidemill_ingest.sources.crud import ManageSources
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_ingest.sources.event_bindings import BindEvents
from tidemill_ingest.sources.known_sources import KnownSources
from tidemill_ingest.sources.mongo import EVENT_BINDINGS, SOURCES
from tidemill_kit.access.holds import Hold, LegalHold
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

ACME = Caller(project="acme", roles=frozenset({"operator"}))
QUARANTINE, EXCHANGE = "quarantine", "exchange"


@dataclass
class NamesHere:
    """Implements `ports.NameMasking`: knows the names that a test says, and the model that it says."""

    model: str = "names@1"
    persons: tuple[str, ...] = ("Ada Lovelace",)

    async def mask(
        self, caller: Caller, prepared: Prepared, masking: Masking, *, tokens_key: bytes | None = None
    ) -> Prepared:
        assert caller.project
        if masking.model != self.model:
            raise NamesModelUnusable(masking.model, "is not in the registry")
        text, given = prepared.text, Pseudonyms(tokens_key) if tokens_key else None
        for person in self.persons:
            text = text.replace(person, given.of(MaskKind.PERSON, person) if given else MaskKind.PERSON.placeholder)
        persons = {MaskKind.PERSON.value: 1} if text != prepared.text else {}
        pseudonyms = {**prepared.pseudonyms, **(given.values if given else {})}
        return replace(prepared, text=text, masked={**prepared.masked, **persons}, pseudonyms=pseudonyms)


@dataclass
class PreparationHere:
    """The real extraction and masking, in this process."""

    limits: ConversionLimits | None = None
    names: NameMasking = field(default_factory=NamesHere)

    async def prepare(  # noqa: PLR0913 - of the port
        self,
        caller: Caller,
        spec: DocumentSpec,
        content: bytes,
        *,
        masking: Masking,
        quality: Quality | None = None,
        allowance: Allowance | None = None,
        tokens_key: bytes | None = None,
    ) -> Prepared:
        limits = (self.limits or ConversionLimits()).within(allowance)
        prepared = prepare_document(spec, content, masking, limits=limits, quality=quality, tokens_key=tokens_key)
        if not masking.model:
            return prepared
        masked = await self.names.mask(caller, prepared, masking, tokens_key=tokens_key)
        return masked if is_listing(spec.media_type) else digested(masked, quality, limits)

    async def read_members(
        self, project: str, content: bytes, held: HeldFile, *, paths: Collection[str], masking: Masking
    ) -> Mapping[str, ReadMember]:
        assert project
        return read_members(content, held, paths, masking, limits=self.limits)

    async def mask(self, project: str, text: str) -> str:
        assert project
        return mask_text(text)

    async def mask_examples(self, project: str, examples: Sequence[Example]) -> Sequence[Example]:
        assert project
        return mask_examples(examples)


@dataclass
class ProjectsHere:
    """Implements `projects.Projects`: what a test says."""

    gone: set[str] = field(default_factory=set)
    spared: set[str] = field(default_factory=set)
    deleted_documents: dict[str, timedelta] = field(default_factory=dict)
    quarantine: dict[str, timedelta] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    erased: dict[str, datetime] = field(default_factory=dict)

    def check_erasure(self, project: str, document_id: str) -> None:
        if document_id in self.held:
            raise LegalHold(Hold(id="h-1", project=project, document=document_id))

    async def erased_until(self, project: str, document_id: str) -> datetime | None:
        assert project
        return self.erased.get(document_id)

    def deleted(self, project: str) -> bool:
        return project in self.gone

    def spares(self, project: str) -> bool:
        return project in self.spared

    def keeps_deleted_documents(self, project: str) -> timedelta | None:
        return self.deleted_documents.get(project)

    def keeps_quarantine(self, project: str) -> timedelta | None:
        return self.quarantine.get(project)


@dataclass
class Ingest:
    """Everything that an entry point calls, on shared stores."""

    limits: Limits = field(default_factory=Limits)
    clock: FixedClock = field(default_factory=FixedClock)
    objects: InMemoryObjects = field(default_factory=lambda: InMemoryObjects(QUARANTINE, EXCHANGE))
    outbox: OutboxHere = field(default_factory=OutboxHere)
    projects: ProjectsHere = field(default_factory=ProjectsHere)

    def __post_init__(self) -> None:
        self.sources = InMemoryAggregates[Source](codec=SOURCES, missing=SourceNotFound, clock=self.clock)
        self.documents = InMemoryAggregates[Document](codec=DOCUMENTS, missing=DocumentNotFound, clock=self.clock)
        self.bindings = InMemoryAggregates[EventBinding](codec=EVENT_BINDINGS, missing=NotFound, clock=self.clock)
        self.texts = ExchangeTexts(self.objects, EXCHANGE)
        self.quarantine = ObjectStoreQuarantine(self.objects, QUARANTINE)
        self.uses = VersionTextsHere(self.documents)
        self.cursor = CursorHere()
        self.preparation = PreparationHere(self.limits.conversion)
        self.to_unpack: list[ResourceKey] = []
        self.fingerprints, self.profiles, self.labels = FingerprintsHere(), ProfilesHere(), LabelsHere()
        self.compare = CompareDocuments(documents=self.documents, fingerprints=self.fingerprints, clock=self.clock)
        self.events = BindEvents(sources=self.sources, bindings=self.bindings, clock=self.clock)
        self.blocks = BlocksHere()
        self.boilerplate = FindBoilerplate(blocks=self.blocks, rules=BoilerplateRules(min_documents=3))
        self.polls = InMemoryAggregates[SourcePoll](codec=POLLS, missing=PollNotFound, clock=self.clock)
        self.to_poll: list[ResourceKey] = []
        self.managing = ManageSources(
            sources=self.sources,
            events=self.events,
            forget=self.blocks.forget,
            polls=self.polls,
            enqueue=self.to_poll.append,
        )
        self.reading = ReadDocuments(
            sources=self.sources,
            documents=self.documents,
            texts=self.texts,
            outbox=self.outbox,
            boilerplate=self.boilerplate,
        )
        self.secrets = project_secrets(self.projects, self.clock)
        self.reveal = RevealPseudonyms(reading=self.reading, texts=self.texts, secrets=self.secrets)
        self.accept = self._accept()
        self.delete = self._delete()
        self.reject = RejectSubmission(
            documents=self.documents,
            preparation=self.preparation,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
        )
        self.submissions = Submissions(
            find_source=KnownSources(events=self.events, clock=self.clock),
            accept=self.accept,
            delete=self.delete,
            reject=self.reject,
            limits=self.limits,
            projects=self.projects,
        )
        self.unpack = self._unpack()
        self.sweep, self.erase = self._sweep(), self._erase()
        self._with_quality()

    def _with_quality(self) -> None:
        self.release = ReleaseDocument(
            documents=self.documents,
            reading=self.reading,
            compare=self.compare,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
        )
        self.judge_duplicates = JudgeDuplicates(
            compare=self.compare,
            sources=self.sources,
            documents=self.documents,
            fingerprints=self.fingerprints,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
        )
        self.judge = JudgeDocuments(
            sources=self.sources,
            documents=self.documents,
            compare=self.compare,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
        )

    def _erase(self) -> EraseDocument:
        return EraseDocument(
            documents=self.documents,
            uses=self.uses,
            texts=self.texts,
            compare=self.compare,
            boilerplate=self.boilerplate,
            clock=self.clock,
            limits=self.limits,
            enqueue=self.to_unpack.append,
        )

    def _accept(self) -> AcceptDocument:
        return AcceptDocument(
            sources=self.sources,
            documents=self.documents,
            preparation=self.preparation,
            quarantine=self.quarantine,
            texts=self.texts,
            compare=self.compare,
            boilerplate=self.boilerplate,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
            secrets=self.secrets,
            profiles=self.profiles.expect,
            enqueue=self.to_unpack.append,
        )

    def _delete(self) -> DeleteDocument:
        return DeleteDocument(
            sources=self.sources,
            documents=self.documents,
            reading=self.reading,
            preparation=self.preparation,
            texts=self.texts,
            compare=self.compare,
            clock=self.clock,
            limits=self.limits,
            projects=self.projects,
            labels=self.labels,
            enqueue=self.to_unpack.append,
        )

    def _unpack(self) -> UnpackDocument:
        return UnpackDocument(
            sources=self.sources,
            documents=self.documents,
            accept=self.accept,
            reject=self.reject,
            delete=self.delete,
            preparation=self.preparation,
            quarantine=self.quarantine,
            limits=self.limits,
            projects=self.projects,
        )

    async def unpack_all(self) -> None:
        """Do what the controller does for all documents that were enqueued, and for what comes of that."""
        while self.to_unpack:
            name = self.to_unpack.pop(0)
            again = await self.unpack(name)
            if again is not None and again.after == MEMBERS_AGAIN:
                self.to_unpack.append(name)

    def counting(self, *, keep_days: int = 400) -> CountVersions:
        """Return what the controller of profiles runs."""
        return self.profiles.counting(
            self.documents, clock=self.clock, limits=self.limits, projects=self.projects, keep_days=keep_days
        )

    def _sweep(self) -> Sweep:
        return Sweep(
            sources=self.sources,
            documents=self.documents,
            uses=self.uses,
            texts=self.texts,
            records=RecordsHere(self.documents),
            quarantine=self.quarantine,
            cursor=self.cursor,
            clock=self.clock,
            rules=SweepRules(),
            projects=self.projects,
            labels=self.labels,
        )

    async def with_source(self, source: Source | None = None) -> "Ingest":
        """Register a source, `cms` of acme unless another one is given."""
        await self.sources.add(source or Source(id="cms", project="acme"), request=Request.internal())
        return self

    def texts_stored(self) -> list[str]:
        """Return the keys of all objects that other services could read."""
        return sorted(self.objects.buckets[EXCHANGE])

    def quarantined(self) -> list[str]:
        """Return the keys of what is in quarantine."""
        return sorted(self.objects.buckets[QUARANTINE])


def spec(key: str = "kb/1", *, media_type: str = "text/markdown", revision: int = 0, title: str = "") -> DocumentSpec:
    return DocumentSpec(source="cms", key=key, media_type=media_type, revision=revision, title=title)


def submitted(text: str | bytes, *, of: DocumentSpec | None = None, request_id: str = "") -> AcceptCommand:
    """Return a submission of a text, by gRPC, with a request id of its own unless one is given."""
    content = text.encode() if isinstance(text, str) else text
    what = of or spec()
    request = Request.of(request_id, repr(what).encode() + content)
    return AcceptCommand(
        spec=what, content=content, request=request, submission=Submission(door=SubmissionChannel.GRPC, id=request.id)
    )


def deletion(
    *, key: str = "kb/1", revision: int = 0, erase: bool = False, request_id: str = "", unknown_too: bool = False
) -> DeleteCommand:
    request = Request.of(request_id, f"{key} {revision} {erase}".encode())
    return DeleteCommand(
        name=DocumentName(source="cms", key=key),
        submission=Submission(door=SubmissionChannel.GRPC, id=request.id),
        request=request,
        revision=revision,
        erase=erase,
        unknown_too=unknown_too,
    )
