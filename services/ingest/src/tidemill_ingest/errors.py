"""What can go wrong in ingest, beyond a field that breaks its rule.

InvalidInput
└── DocumentRefused         the content can never be taken; `reason` says which rule it breaks
NotFound
├── SourceNotFound
├── EventsNotRegistered     no source of the project takes events of this ce_source
├── DocumentNotFound
├── VersionNotFound
├── TextGone                the version is known, its text was erased or is past its retention
├── DatasetNotFound
└── DatasetVersionNotFound
AlreadyExists
├── EventSourceTaken        another source of the project takes these events
├── KeyTaken                a document that came another way has the key: by itself, or inside of another one
└── DatasetExists
Conflict
├── DatasetChanged          it is not what the caller read
├── DatasetBusy             a worker makes a version of it
├── MembersUnderWay         what is inside of a document to be erased is not erased yet
├── PollTaken               another worker polls the source by now
├── SubmissionsUnderWay     texts of a document to be erased may be of submissions that are being saved
└── BatchAlreadyHandled     what a curation offered was worked on by another process meanwhile
PreconditionFailed
├── NothingWithheld         the document's newest version is withheld by no rule
├── KeyAmbiguous            several sources of the project have a document with this key
├── BatchUnusable           what a curation offered cannot be read; `reason` says why
├── OriginFailed            what a source is polled from does not answer as it should; `reason` says why
│   └── FileUnreadable      one of its files, where the others may be read
├── NamesModelUnusable      the model that finds names is not there, or is none; documents wait for another one
├── PseudonymsNotKept       the operator has configured no key that what they stand for is encrypted by
├── PseudonymsUnreadable    what they stand for was encrypted by another key than the project's
├── ProjectDeleted          what was submitted before came after the deletion of its project
└── DifferenceTooLarge      two versions have more examples than one answer can compare
PermissionDenied
├── DocumentRestricted      it has readers, and the caller, who would write over it, is none
└── ExamplesRestricted      examples show documents that the caller, who would export them, may not read
RateLimited
└── TooManyOffers           more is offered to a dataset than it makes versions of
"""

from collections.abc import Sequence

from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    Violation,
)


class DocumentRefused(InvalidInput):
    """A document's content breaks a rule; the same error at every API, as a status or as document.rejected."""

    def __init__(self, *, reason: str, field: str, description: str) -> None:
        super().__init__(violations=[Violation(field, description)])
        self.reason = reason


class SourceNotFound(NotFound):
    """The caller's project has no such source."""

    reason = "SOURCE_NOT_FOUND"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"there is no source {source_id!r} in this project: create it first", source=source_id)


class EventsNotRegistered(NotFound):
    """No source of the event's project has the ce_source."""

    reason = "EVENTS_NOT_REGISTERED"

    def __init__(self, project: str, events: str) -> None:
        super().__init__(
            f"no source of project {project} accepts events of {events}: create one whose `events` is this ce_source",
            project=project,
            events=events,
        )


class EventSourceTaken(AlreadyExists):
    """One ce_source belongs to one source of a project."""

    reason = "EVENTS_TAKEN"

    def __init__(self, events: str, *, source_id: str) -> None:
        super().__init__(
            f"events of {events} belong to source {source_id!r} already: change or delete that one first",
            events=events,
            source=source_id,
        )


class NamesModelUnusable(PreconditionFailed):
    """The model that a source names for its masking cannot be used; nothing is taken in without it."""

    reason = "NAMES_MODEL_UNUSABLE"

    def __init__(self, model: str, why: str) -> None:
        super().__init__(
            f"names cannot be masked: the model {model!r} {why}. Fix the model, or name another one in masking.model "
            "of the source, and send the document again",
            model=model,
        )


class PseudonymsNotKept(PreconditionFailed):
    """What pseudonyms stand for cannot be encrypted, so none is made."""

    reason = "PSEUDONYMS_NOT_KEPT"

    def __init__(self) -> None:
        super().__init__(
            "no pseudonyms are made, because there is no key to encrypt what they stand for: the operator has to set "
            "INGEST_SECRETS_KEY_FILE"
        )


class PseudonymsUnreadable(PreconditionFailed):
    """What the pseudonyms of a version stand for does not open by its project's key."""

    reason = "PSEUDONYMS_UNREADABLE"

    def __init__(self) -> None:
        super().__init__(
            "what these pseudonyms stand for was encrypted by another key than the project has, or is damaged: send "
            "the document again"
        )


class DocumentNotFound(NotFound):
    """The caller's project has no such document."""

    reason = "DOCUMENT_NOT_FOUND"

    def __init__(self, document: str) -> None:
        super().__init__(f"there is no document {document} in this project", document=document)


class KeyTaken(AlreadyExists):
    """A member of a document has the key of one that was sent by itself, or the other way round."""

    reason = "KEY_TAKEN"

    def __init__(self, document: str, *, parent: str) -> None:
        how = f"is inside of document {parent}: send that one" if parent else "was sent by itself: delete it first"
        super().__init__(f"document {document} {how}, or use another key", document=document, parent=parent)


class SubmissionsUnderWay(Conflict):
    """Texts of a document that is erased may be of submissions that are being saved."""

    reason = "SUBMISSIONS_UNDER_WAY"

    def __init__(self, document: str) -> None:
        super().__init__(f"submissions of document {document} may be under way", document=document)


class MembersUnderWay(Conflict):
    """What is inside of a document that is erased is not erased yet."""

    reason = "MEMBERS_UNDER_WAY"

    def __init__(self, document: str) -> None:
        super().__init__(f"what is inside of document {document} is being erased", document=document)


class ExamplesRestricted(PermissionDenied):
    """The caller would export what shows documents that it may not read."""

    reason = "EXAMPLES_RESTRICTED"

    def __init__(self, version: str, *, examples: int) -> None:
        super().__init__(
            f"{examples} examples of {version} show documents that the credential may not read: "
            "have an operator export it",
            version=version,
            examples=examples,
        )


class DocumentRestricted(PermissionDenied):
    """The caller would write over a document that it may not read."""

    reason = "DOCUMENT_RESTRICTED"

    def __init__(self, document: str) -> None:
        super().__init__(
            f"document {document} has readers that the credential is not among: use another key, or have an operator "
            "or its writer submit it",
            document=document,
        )


class VersionNotFound(NotFound):
    """The document has no such version, or no current one."""

    reason = "VERSION_NOT_FOUND"

    def __init__(self, document_id: str, *, number: int, known: Sequence[int]) -> None:
        what = f"has no version {number}" if number else "has no current version"
        choice = f"known are {', '.join(map(str, known))}" if known else "none is known"
        super().__init__(f"document {document_id} {what}: {choice}", document=document_id, version=number)


class NothingWithheld(PreconditionFailed):
    """The document's newest version is not withheld, or not any more."""

    reason = "NOTHING_WITHHELD"

    def __init__(self, document_id: str, *, number: int) -> None:
        super().__init__(
            f"version {number} of document {document_id} is not withheld: read the document to see what is",
            document=document_id,
            version=number,
        )


class TextGone(NotFound):
    """The version's text is no longer there."""

    reason = "TEXT_GONE"

    def __init__(self, document_id: str, *, number: int, why: str) -> None:
        super().__init__(f"the text of version {number} of document {document_id} {why}", document=document_id)


class KeyAmbiguous(PreconditionFailed):
    """A key alone does not name one document."""

    reason = "KEY_AMBIGUOUS"

    def __init__(self, key: str, *, sources: Sequence[str]) -> None:
        super().__init__(f"several sources have a document {key!r}: name one of {', '.join(sources)}", key=key)


class DatasetNotFound(NotFound):
    """The caller's project has no such dataset."""

    reason = "DATASET_NOT_FOUND"

    def __init__(self, dataset: str) -> None:
        super().__init__(f"there is no dataset {dataset[:80]!r} in this project: create it first", dataset=dataset[:80])


class DatasetVersionNotFound(NotFound):
    """The dataset has no such version, or none at all, or it is past its retention."""

    reason = "DATASET_VERSION_NOT_FOUND"

    def __init__(self, version: str, *, known: Sequence[int]) -> None:
        choice = f"known are {known[0]} to {known[-1]}" if known else "none is known"
        super().__init__(f"there is no dataset version {version[:80]!r}: {choice}", version=version[:80])


class DatasetExists(AlreadyExists):
    """The id is taken."""

    reason = "DATASET_EXISTS"

    def __init__(self, dataset: str) -> None:
        super().__init__(f"dataset {dataset} exists already: choose another id", dataset=dataset)


class DatasetChanged(Conflict):
    """It is not what the caller read."""

    reason = "DATASET_CHANGED"


class DatasetBusy(Conflict):
    """A worker makes a version of it."""

    reason = "DATASET_BUSY"

    def __init__(self, dataset: str) -> None:
        super().__init__(f"a worker makes a version of dataset {dataset}", dataset=dataset)


class BatchAlreadyHandled(Conflict):
    """A version was made of it, or it was withheld, or a later holder of the lease works on it."""

    reason = "OFFER_SETTLED"

    def __init__(self, dataset: str) -> None:
        super().__init__(f"another worker handles dataset {dataset}", dataset=dataset)


class BatchUnusable(PreconditionFailed):
    """What a curation offered can never become a version."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DifferenceTooLarge(PreconditionFailed):
    """Both parts of both versions are compared in memory, and returned in one message."""

    reason = "DIFFERENCE_TOO_LARGE"

    def __init__(self, *, examples: int, limit: int) -> None:
        message = f"the versions have {examples} examples, and {limit} are compared at most: export and compare them"
        super().__init__(message, examples=examples, limit=limit)


class TooManyOffers(RateLimited):
    """A dataset keeps so many offers waiting."""

    reason = "TOO_MANY_OFFERS"

    def __init__(self, dataset: str, *, limit: int) -> None:
        message = f"{limit} offers wait for dataset {dataset}, and no more may: offer it again later"
        super().__init__(message, retry_after_s=5, dataset=dataset, limit=limit)


class ProjectDeleted(PreconditionFailed):
    """The project was deleted while its submission was in work."""

    reason = "PROJECT_DELETED"

    def __init__(self, project: str) -> None:
        super().__init__(f"project {project} was deleted: nothing more of it is stored")


class PollTaken(Conflict):
    """Another worker got the lease of a source's polls."""

    reason = "POLL_TAKEN"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"another worker polls source {source_id}: it goes on there", source=source_id)


class OriginFailed(PreconditionFailed):
    """What a source is polled from cannot be read; it quotes nothing that came from there."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FileUnreadable(OriginFailed):
    """One file cannot be read of a bucket that was listed: the others can."""

    reason = "FILE_UNREADABLE"

    def __init__(self, message: str) -> None:
        super().__init__(reason=self.reason, message=message)
