"""Make documents of what is inside of a document, and delete those of what is not in it any more."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill_core.application import Caller, PageRequest, Request, Requeue, ResourceKey, derived_id
from tidemill_core.errors import AlreadyExists, Internal, InvalidInput, NotFound, PreconditionFailed
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.members import (
    DELETED,
    ERASED,
    GONE,
    Carrier,
    Contents,
    HeldFile,
    Member,
    MemberState,
)
from tidemill_ingest.documents.domain.submission import (
    DocumentName,
    DocumentSpec,
    Submission,
    SubmissionChannel,
    document_id,
)
from tidemill_ingest.documents.domain.version import Version
from tidemill_ingest.documents.ports import Documents, Preparation, Quarantine
from tidemill_ingest.documents.reject_submission import RejectCommand, RejectSubmission
from tidemill_ingest.errors import DocumentNotFound, DocumentRefused, ProjectDeleted
from tidemill_ingest.formats import FORMATS
from tidemill_ingest.limits import MEBIBYTE, Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.members import Allowance, ReadMember, member_key
from tidemill_ingest.projects import Projects
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import Sources

_MAX_BATCH_BYTES = 16 * MEBIBYTE
_MAX_BATCH = 50
_PAGE = PageRequest(size=200)
_MAX_ATTEMPTS = 3
_MAX_MESSAGE = 500
_HELD_AGAIN = timedelta(minutes=5)
"""When an erasure that a legal hold keeps from its end is tried again."""
MEMBERS_AGAIN = timedelta(seconds=5)
"""When it is tried again where members have members themselves, which their own workers erase."""
_MISSING = "left quarantine before it was read: send the whole file again"
_LEFT = "it is not in the file any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A document, and in whose name its members are changed."""

    caller: Caller
    document: Document
    source: Source

    def submission(self, path: str, *, what: str) -> Submission:
        """Return what names a change of a member: the same whenever it is made again."""
        number = str(self.document.contents.version)
        name = derived_id(self.document.project, self.document.id, number, path, what)
        return Submission(door=SubmissionChannel.MEMBER, id=name, source=self.document.id)

    def key(self, path: str) -> str:
        """Return the key of a member."""
        return member_key(self.document.key, path)

    def document_id(self, path: str) -> str:
        """Return the id of a member's document."""
        return document_id(self.document.project, self.source.id, self.key(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackDocument:
    """Reconciles the documents of a document's members with its contents.

    The contents were saved with the version. What is done to a member has the number of that version as its revision:
    repeating it is harmless, and a worker that slept through its lease changes nothing that a later version says.
    """

    sources: Sources
    documents: Documents
    accept: AcceptDocument
    reject: RejectSubmission
    delete: DeleteDocument
    preparation: Preparation
    quarantine: Quarantine
    limits: Limits
    projects: Projects

    async def __call__(self, name: ResourceKey) -> Requeue | None:
        """Bring the members of a document to what its contents say; `Requeue` where some are left."""
        try:
            document = await self.documents.get(name.project, name.id)
        except DocumentNotFound:
            return None
        if not document.contents.pending or self.projects.deleted(name.project):
            return None
        work = await self._begun(document)
        erase_again = await self._erase(work)
        await self._delete_leaving(work)
        left = await self._read_members(work)
        if erase_again:
            await self._change(work, Contents.without_leaving)
        if left or erase_again:
            return Requeue(after=None if left else erase_again)
        await self.quarantine.delete(_not_needed(work.document.contents))
        await self._change(work, Contents.finished)
        return None

    async def _begun(self, document: Document) -> _Work:
        """Record that members may become documents from now on."""
        caller = Caller.of_service(document.project, "ingest")
        try:
            source = await self.sources.get(document.project, document.source)
        except NotFound:  # it was deleted: what is there goes, and what was sent before is taken with all masking
            rules = document.newest.provenance.masking if document.newest else ()
            source = Source(id=document.source, project=document.project, masking=Masking.strictest(rules))

        def begin(document: Document) -> None:
            document.contents = document.contents.begun()

        begun = await self.documents.update(document.project, document.id, begin, request=Request.internal())
        return _Work(caller=caller, document=begun, source=source)

    async def _erase(self, work: _Work) -> timedelta | None:
        """Erase what members had up to a version; return when to try again what a hold or members of theirs keep."""
        up_to, token, again = work.document.contents.erase_up_to, "", set[timedelta]()
        while up_to:
            page = replace(_PAGE, token=token)
            found = await self.documents.list(work.document.project, page=page, where={"parent": work.document.id})
            for member in found.items:
                path = member.key.removeprefix(work.key(""))
                try:
                    erased = await self._delete(work, path, revision=up_to, erase=True)
                except PreconditionFailed as error:
                    if isinstance(error, ProjectDeleted):
                        raise
                    again.add(_HELD_AGAIN)
                else:
                    if erased is not None and erased.contents.erase_up_to:
                        again.add(MEMBERS_AGAIN)
            if not (token := found.next_token):
                break
        return min(again, default=None)

    async def _delete_leaving(self, work: _Work) -> None:
        for path in work.document.contents.leaving:
            await self._delete(work, path, revision=work.document.contents.version)

    async def _delete(self, work: _Work, path: str, *, revision: int, erase: bool = False) -> Document | None:
        """Delete the document of a member, also one that a slow worker has still to make; return it then."""
        submission = work.submission(path, what=f"erase {revision}" if erase else "delete")
        command = DeleteCommand(
            name=DocumentName(source=work.source.id, key=work.key(path)),
            submission=submission,
            request=Request.of(submission.id, b""),
            revision=revision,
            erase=erase,
            reason="" if erase else _LEFT,
            unknown_too=True,
            source=work.source,
        )
        try:
            existing = await self.documents.get(work.document.project, work.document_id(path))
            if existing.parent != work.document.id:
                return None  # another document has the key
        except DocumentNotFound:
            pass
        try:
            return await self.delete(work.caller, command)
        except InvalidInput:
            return None  # no document can have such a key

    async def _read_members(self, work: _Work) -> bool:
        """Read the members that are left, some at a time; return whether some have to be tried again."""
        contents, again = work.document.contents, False
        if contents.held is None or not contents.to_read:
            return False
        try:
            content = await self.quarantine.get(contents.held.object_key)
        except NotFound:
            await self._record(work, [each.refused(GONE, _MISSING) for each in contents.to_read])
            return False
        for batch in _batches(contents.to_read):
            outcomes = await self._outcomes(work, contents.held, content, batch)
            again = again or any(each.state is MemberState.PENDING for each in outcomes)
            await self._record(work, outcomes)
        return again

    async def _outcomes(self, work: _Work, held: HeldFile, content: bytes, batch: Sequence[Member]) -> Sequence[Member]:
        paths = [each.path for each in batch]
        try:
            read = await self.preparation.read_members(
                work.document.project, content, held, paths=paths, masking=work.source.masking
            )
        except DocumentRefused as refused:
            return [each.refused(refused.reason, refused.message[:_MAX_MESSAGE]) for each in batch]
        except Internal:
            if len(batch) == 1:
                return [each.failed(max_attempts=_MAX_ATTEMPTS) for each in batch]
            alone = [await self._outcomes(work, held, content, [each]) for each in batch]
            return [each for outcomes in alone for each in outcomes]
        return [await self._outcome(work, each, read.get(each.path)) for each in batch]

    async def _outcome(self, work: _Work, member: Member, read: ReadMember | None) -> Member:
        """Make a document of a member, and return what became of it."""
        document = work.document
        version = document.version_numbered(document.contents.version)
        if read is None:
            return member.refused(GONE, _MISSING)
        if await self._was_erased(work, version, member.path):
            return member.refused(ERASED, "was erased after the file was sent")
        if read.reason:
            return await self._rejected(work, member, read.reason, read.message)
        submission = work.submission(member.path, what="upsert")
        command = AcceptCommand(
            spec=_spec(version, work.source.id, work.key(member.path), read.media_type),
            content=read.content,
            submission=submission,
            request=Request.of(submission.id, b""),
            source=work.source,
            carrier=Carrier(document=document.id, writer=document.writer, allowance=self._share(document.contents)),
        )
        return await self._accepted(work, member, command)

    async def _accepted(self, work: _Work, member: Member, command: AcceptCommand) -> Member:
        try:
            accepted = await self.accept(work.caller, command)
        except InvalidInput as error:
            return await self._rejected(work, member, error.reason, error.message)
        except AlreadyExists as error:
            return member.refused(error.reason, error.message[:_MAX_MESSAGE])
        except Internal:
            return member.failed(max_attempts=_MAX_ATTEMPTS)
        if accepted.newest is None:
            return member.refused(DELETED, accepted.steps[-1].message[:_MAX_MESSAGE])
        return member.stored()

    async def _was_erased(self, work: _Work, version: Version, path: str) -> bool:
        until = await self.projects.erased_until(work.document.project, work.document_id(path))
        return until is not None and version.create_time <= until

    async def _rejected(self, work: _Work, member: Member, reason: str, message: str) -> Member:
        """Record on the member's document that it was refused; what it had before stays."""
        submission = work.submission(member.path, what="reject")
        command = RejectCommand(
            source=work.source.id,
            key=work.key(member.path),
            reason=reason,
            message=message,
            submission=submission,
            request=Request.of(submission.id, b""),
            parent=work.document.id,
        )
        try:
            rejection = (await self.reject(work.caller, command)).last_rejection
        except InvalidInput as error:  # no document can have such a key
            return member.refused(error.reason, error.message[:_MAX_MESSAGE])
        return member.refused(reason, rejection.message if rejection else "")  # masked

    def _share(self, contents: Contents) -> Allowance:
        """Return what each archive and mail among the members may unpack to: so that all together are bounded."""
        allowed = contents.held.allowance if contents.held else None
        containers = sum(1 for each in contents.members if _has_members(each.media_type))
        unpacked_bytes = sum(each.size for each in contents.members)
        return (allowed or self.limits.conversion.allowance).shared(
            len(contents.members), unpacked_bytes, among=containers
        )

    async def _record(self, work: _Work, outcomes: Sequence[Member]) -> None:
        by_path = {each.path: each for each in outcomes}
        await self._change(work, lambda contents: contents.with_outcomes(by_path))

    async def _change(self, work: _Work, change: Callable[[Contents], Contents]) -> None:
        """Change what the contents say of the work, unless they say something newer by now."""
        generation = work.document.contents.generation

        def changed(document: Document) -> None:
            if document.contents.generation == generation:
                document.contents = change(document.contents)

        await self.documents.update(work.document.project, work.document.id, changed, request=Request.internal())


def _batches(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Yield members that fit into memory together; one that does not fit alone is refused when it is read."""
    batch, size = list[Member](), 0
    for each in members:
        if batch and (len(batch) == _MAX_BATCH or size + each.size > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield batch


def _not_needed(contents: Contents) -> Sequence[str]:
    """Return the objects in quarantine that nothing is read from any more."""
    return [*contents.superseded, *([contents.held.object_key] if contents.held else [])]


def _has_members(media_type: str) -> bool:
    return media_type in FORMATS and FORMATS[media_type].has_members


def _spec(version: Version, source: str, key: str, media_type: str) -> DocumentSpec:
    """Return what is said about a member: what was said about the file that it is in."""
    return DocumentSpec(
        source=source,
        key=key,
        media_type=media_type,
        uri=version.uri,
        language=version.language,
        readers=version.readers,
        metadata=version.metadata,
        revision=version.number,
    )
