"""What can go wrong in ingest, beyond a field that breaks its rule.

InvalidInput
└── DocumentRefused         the content can never be taken; `reason` says which rule it breaks
NotFound
├── SourceNotFound
├── EventsNotRegistered     no source of the project takes events of this ce_source
├── DocumentNotFound
├── VersionNotFound
└── TextGone                the version is known, its text was erased or is past its retention
AlreadyExists
└── EventsTaken             another source of the project takes these events
PreconditionFailed
└── KeyAmbiguous            several sources of the project have a document with this key
"""

from collections.abc import Sequence

from tidemill_kit.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed, Violation


class DocumentRefused(InvalidInput):
    """A document's content breaks a rule; the same error at every door, as a status or as document.rejected."""

    def __init__(self, *, reason: str, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", violations=[Violation(field=field, description=description)])
        self.reason = reason


class SourceNotFound(NotFound):
    """The caller's project has no such source."""

    reason = "SOURCE_NOT_FOUND"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"there is no source {source_id!r} in this project: create it first", source=source_id)


class EventsNotRegistered(NotFound):
    """Nobody registered the ce_source in the event's project."""

    reason = "EVENTS_NOT_REGISTERED"

    def __init__(self, project: str, events: str) -> None:
        super().__init__(
            f"no source of project {project} takes events of {events}: create one whose `events` is this ce_source",
            project=project,
            events=events,
        )


class EventsTaken(AlreadyExists):
    """One ce_source belongs to one source of a project."""

    reason = "EVENTS_TAKEN"

    def __init__(self, events: str, *, source_id: str) -> None:
        super().__init__(
            f"events of {events} belong to source {source_id!r} already: change or delete that one first",
            events=events,
            source=source_id,
        )


class DocumentNotFound(NotFound):
    """The caller's project has no such document."""

    reason = "DOCUMENT_NOT_FOUND"

    def __init__(self, document: str) -> None:
        super().__init__(f"there is no document {document} in this project", document=document)


class VersionNotFound(NotFound):
    """The document has no such version, or no current one."""

    reason = "VERSION_NOT_FOUND"

    def __init__(self, document_id: str, *, number: int, known: Sequence[int]) -> None:
        what = f"has no version {number}" if number else "has no current version"
        choice = f"known are {', '.join(map(str, known))}" if known else "none is known"
        super().__init__(f"document {document_id} {what}: {choice}", document=document_id, version=number)


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
