"""The files inside of archives and mails: which there are, under names that are masked and unique, and their bytes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import PurePosixPath
from typing import Protocol, cast

from tidemill_core.characters import clean_line
from tidemill_core.media_types import UNREADABLE, media_type_of
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.formats import FORMATS
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.members import PlannedMember, ReadMember
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Entry

Mask = Callable[[str], str]
_MAX_PATH = 400


class Opener(Protocol):
    """A converter of files that have files inside."""

    def entries(self, content: bytes, limits: ConversionLimits) -> Iterator[Entry]:
        """Yield the files inside, each to be read before the next one."""
        ...


def planned(entries: Iterable[Entry], limits: ConversionLimits, mask: Mask) -> tuple[PlannedMember, ...]:
    """Return what is to be read of a file.

    Raises:
        DocumentRefused: it has too many files inside.

    """
    plan = [_planned(path, entry, limits, mask) for path, entry in _named(entries, mask)]
    if len(plan) > limits.members:
        text = f"has {len(plan)} files inside, and {limits.members} is the limit, for those in these too: split it"
        raise refusals.too_complex(what=text)
    return tuple(plan)


def read(
    content: bytes, media_type: str, limits: ConversionLimits, *, mask: Mask, paths: Collection[str]
) -> Mapping[str, ReadMember]:
    """Return the members with these paths; one that is not there, because limits or masking changed, is left out.

    Raises:
        DocumentRefused: the file cannot be opened any more, because limits changed.

    """
    known, found = FORMATS[media_type], dict[str, ReadMember]()
    if not known.has_members:
        return found
    opener = cast("Opener", import_module(f"tidemill_ingest.parsing.{known.converter}"))
    with refusals.reading(known.name):
        for path, entry in _named(opener.entries(content, limits), mask):
            if path in paths:
                found[path] = _read(path, entry, limits, mask)
                if len(found) == len(paths):
                    break
    return found


def _read(path: str, entry: Entry, limits: ConversionLimits, mask: Mask) -> ReadMember:
    plan = _planned(path, entry, limits, mask)
    if plan.reason:
        return ReadMember(media_type=plan.media_type, reason=plan.reason, message=plan.message)
    try:
        with refusals.reading("a file of its archive"):
            content = entry.read()
    except DocumentRefused as refused:
        return ReadMember(media_type=plan.media_type, reason=refused.reason, message=mask(_description(refused)))
    known = plan.media_type if plan.media_type != UNREADABLE else media_type_of(entry.path, content)
    return ReadMember(media_type=known, content=content)


def _planned(path: str, entry: Entry, limits: ConversionLimits, mask: Mask) -> PlannedMember:
    named = media_type_of(entry.path)  # a masked path may have lost its suffix
    media_type = named if named in FORMATS or entry.media_type not in FORMATS else entry.media_type
    refused = entry.refused
    if refused is None and entry.size > limits.member_bytes:
        text = f"has {entry.size} bytes, and {limits.member_bytes} is the limit of one document: split it"
        refused = DocumentRefused(reason="DOCUMENT_TOO_LARGE", field="content", description=text)
    if refused is None and limits.nesting < 1:
        refused = refusals.nested(what="is attached to a mail")
    if refused is None and len(clean_line(entry.path)) > _MAX_PATH:
        text = f"has a path of {len(entry.path)} characters, and {_MAX_PATH} is the limit: shorten it"
        refused = refusals.too_complex(what=text)
    if refused is None:
        return PlannedMember(path=path, media_type=media_type, size=entry.size)
    return PlannedMember(
        path=path,
        media_type=media_type,
        size=entry.size,
        reason=refused.reason,
        message=mask(_description(refused)),
    )


def _description(refused: DocumentRefused) -> str:
    return refused.violations[0].description


def _named(entries: Iterable[Entry], mask: Mask) -> Iterator[tuple[str, Entry]]:
    """Yield the entries with paths that are masked, and numbered where several are the same."""
    taken = set[str]()
    for entry in entries:
        masked = mask(clean_line(entry.path))[:_MAX_PATH].strip() or "without a name"
        path, number = masked, 1
        while path in taken:
            number += 1
            path = _numbered(masked, number)
        taken.add(path)
        yield path, entry


def _numbered(path: str, number: int) -> str:
    suffix = PurePosixPath(path).suffix
    return f"{path.removesuffix(suffix)} ({number}){suffix}"
