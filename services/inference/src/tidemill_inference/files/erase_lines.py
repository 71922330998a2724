"""Empty the lines of a person in files, those of requests and those of answers."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cachetools import LRUCache

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import PageRequest, Request
from tidemill_core.characters import clean_line
from tidemill_core.errors import NotFound
from tidemill_inference.files.domain.errors import FileNotFound
from tidemill_inference.files.domain.people import people_of
from tidemill_inference.files.domain.stored_file import StoredFile
from tidemill_inference.files.ports import Contents, Files
from tidemill_inference.generation.ports import ErasedLines

_MAX_FILES = 20
"""That one call changes."""
_MAX_BYTES = 64 * 1024 * 1024
"""That one call of the RPC reads, and one file more."""
_PAGE = 200
_MAX_PLACES = 1000
_FRESH_S = 600.0
"""An erasure that was left for so long begins again from the first file."""
_MAX_PARSED_BYTES = 16 * 1024 * 1024
"""A longer line is no request, nor an answer: it goes if it has the name anywhere."""


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far the erasure of a person has come: its page, and what it has passed of that."""

    token: str = ""
    passed: set[str] = field(default_factory=set)
    changed: int = 0
    size: int = 0
    """Of what this call has changed, and read."""
    at: float = 0.0


class _Outcome(Enum):
    CLEAN = 1
    EMPTIED = 2
    REPLACED = 3
    """By another erasure, of another person: it has to be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseLines:
    """An emptied line stays a line, so that the others keep their numbers. Repeating it finds nothing more.

    A line without a name is of who made the file, as its request is. A call goes on behind the files that the calls
    before it have passed in this process, in the order in which files were created: later ones come behind them.
    """

    files: Files
    contents: Contents
    clock: Callable[[], float] = time.monotonic
    _places: LRUCache[tuple[str, str], _Place] = field(default_factory=lambda: LRUCache(_MAX_PLACES))

    async def __call__(self, project: str, end_user: str) -> int:
        """Empty the lines in some files; return in how many, 0 when there is none left."""
        erased, place = await self._go_on(project, end_user, max_bytes=math.inf)
        if erased.changed and not erased.more:
            self._keep(project, end_user, place)  # the next call returns 0
        return erased.changed

    async def some(self, project: str, end_user: str) -> ErasedLines:
        """See `generation.ports.EndUserFiles`."""
        return (await self._go_on(project, end_user, max_bytes=_MAX_BYTES))[0]

    async def _go_on(self, project: str, end_user: str, *, max_bytes: float) -> tuple[ErasedLines, _Place]:
        place = self._places.pop((project, end_user), None)
        if place is None or self.clock() - place.at > _FRESH_S:
            place = _Place()
        place.changed = place.size = 0
        try:
            more = await self._pass_files(project, end_user, place, max_bytes)
        except BaseException:
            self._keep(project, end_user, place)
            raise
        if more:
            self._keep(project, end_user, place)
        return ErasedLines(changed=place.changed, more=more), place

    async def _pass_files(self, project: str, end_user: str, place: _Place, max_bytes: float) -> bool:
        """Return whether there are more files than this call may change or read."""
        while True:
            page = await self.files.list(project, page=PageRequest(size=_PAGE, token=place.token), show_deleted=True)
            for file in page.items:
                if file.id in place.passed:
                    continue
                if place.changed == _MAX_FILES or place.size >= max_bytes:
                    return True
                if file.deleted:
                    await self.contents.remove_all(project, file.id)  # the deletion may have ended before that
                else:
                    place.changed += await self._emptied(file, end_user)
                    place.size += file.size
                place.passed.add(file.id)
            if not page.next_token:
                return False
            place.token, place.passed = page.next_token, set()

    def _keep(self, project: str, end_user: str, place: _Place) -> None:
        place.at = self.clock()
        self._places[project, end_user] = place

    async def _emptied(self, file: StoredFile, end_user: str) -> bool:
        """Empty the lines of one file, until nothing of the person is in it; return whether something was."""
        changed = False
        while True:
            outcome = await self._emptied_once(file, end_user)
            changed |= outcome is _Outcome.EMPTIED
            if outcome is not _Outcome.REPLACED:
                return changed
            fresh = (await self.files.get_many(file.project, [file.id])).get(file.id)
            if fresh is None or fresh.deleted:
                return changed
            file = fresh

    async def _emptied_once(self, file: StoredFile, end_user: str) -> _Outcome:
        try:
            async with self.contents.local(file.content) as path, self.contents.scratch() as written:
                if not await asyncio.to_thread(_empty_lines, path, written, {end_user, clean_line(end_user)}, file):
                    return _Outcome.CLEAN
                content = await self.contents.put(file.project, file.id, written)
        except NotFound:  # the content: nothing is left, or another erasure, of another person, was faster
            gone = await self._stored(file) in (None, file.content)
            return _Outcome.CLEAN if gone else _Outcome.REPLACED
        kept = await self._replaced(file, content)
        for each in (file.content, content):
            if each != kept:
                await self.contents.remove(each)
        return _Outcome.EMPTIED if kept in (None, content) else _Outcome.REPLACED

    async def _stored(self, file: StoredFile) -> ObjectRef | None:
        found = (await self.files.get_many(file.project, [file.id])).get(file.id)
        return found.content if found else None

    async def _replaced(self, file: StoredFile, content: ObjectRef) -> ObjectRef | None:
        """Put a content in the place of that which it was made of; return what the file has now."""

        def change(stored: StoredFile) -> None:
            if stored.content == file.content:
                stored.content = content

        try:
            return (await self.files.update(file.project, file.id, change, request=Request.internal())).content
        except FileNotFound:
            return None


def _empty_lines(path: Path, written: Path, names: AbstractSet[str], file: StoredFile) -> bool:
    """Copy a file without what is of a person, which has these names; return whether that was anything."""
    found, of_creator = False, file.creator in names
    with path.open("rb") as lines, written.open("wb") as kept:
        for line in lines:
            people = names & _written(names, line) if len(line) > _MAX_PARSED_BYTES else people_of(line)
            mine = bool(names & people) or (of_creator and not people and bool(line.strip()))
            found |= mine
            kept.write(b"\n" if mine else line)
    return found


def _written(names: AbstractSet[str], line: bytes) -> set[str]:
    """Return the names that are somewhere in a line, as JSON may have them."""
    return {name for name in names if name.encode() in line or json.dumps(name)[1:-1].encode() in line}
