"""Empty the lines of a person in files, those of requests and those of answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_core.characters import clean_line
from tidemill_core.errors import NotFound
from tidemill_core.resources import list_all
from tidemill_inference.files.domain.errors import FileNotFound
from tidemill_inference.files.domain.people import people_of
from tidemill_inference.files.domain.stored_file import StoredFile
from tidemill_inference.files.ports import Contents, Files

_MAX_FILES = 20
_MAX_PARSED_BYTES = 16 * 1024 * 1024
"""A longer line is no request, nor an answer: it goes if it has the name anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseLines:
    """An emptied line stays a line, so that the others keep their numbers. Repeating it finds nothing more.

    A line without a name is of who made the file, as its request is.
    """

    files: Files
    contents: Contents

    async def __call__(self, project: str, end_user: str) -> int:
        """Empty the lines in some files; return in how many, 0 when there is none left."""
        changed = 0
        async for file in self._files(project):
            changed += await self._emptied(file, end_user)
            if changed == _MAX_FILES:
                break
        return changed

    async def _files(self, project: str) -> AsyncIterator[StoredFile]:
        async for file in list_all(self.files, project, show_deleted=True):
            if file.deleted:
                await self.contents.remove_all(project, file.id)  # the deletion may have ended before that
            else:
                yield file

    async def _emptied(self, file: StoredFile, end_user: str) -> bool:
        try:
            async with self.contents.local(file.content) as path, self.contents.scratch() as written:
                if not await asyncio.to_thread(_empty_lines, path, written, {end_user, clean_line(end_user)}, file):
                    return False
                content = await self.contents.put(file.project, file.id, written)
        except NotFound:  # the content: nothing is left, or another erasure, of another person, was faster
            return await self._stored(file) not in (None, file.content)
        kept = await self._replaced(file, content)
        for each in (file.content, content):
            if each != kept:
                await self.contents.remove(each)
        return True

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
