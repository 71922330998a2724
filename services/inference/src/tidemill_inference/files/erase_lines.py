"""Empty the lines of a person in files, those of requests and those of answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tidemill_core.application import Request
from tidemill_core.characters import clean_line
from tidemill_core.resources import list_all
from tidemill_inference.files.domain.stored_file import StoredFile
from tidemill_inference.files.ports import Contents, Files

_MAX_FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseLines:
    """An emptied line stays a line, so that the others keep their numbers. Repeating it finds nothing more."""

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
        async for file in list_all(self.files, project):
            yield file

    async def _emptied(self, file: StoredFile, end_user: str) -> bool:
        async with self.contents.local(file.content) as path, self.contents.scratch() as written:
            if not await asyncio.to_thread(_empty_lines, path, written, end_user):
                return False
            content = await self.contents.put(file.project, file.id, written)

        def change(stored: StoredFile) -> None:
            stored.content = content

        await self.files.update(file.project, file.id, change, request=Request.internal())
        await self.contents.remove(file.content)
        return True


def _empty_lines(path: Path, written: Path, end_user: str) -> bool:
    """Copy a file without what is of a person; return whether that was anything."""
    found, names = False, {end_user, clean_line(end_user)}
    with path.open("rb") as lines, written.open("wb") as kept:
        for line in lines:
            mine = not names.isdisjoint(_people(line))
            found |= mine
            kept.write(b"\n" if mine else line)
    return found


def _people(line: bytes) -> set[str]:
    """Return whom a line is of: the user of a request, or as a result says it."""
    try:
        given = json.loads(line)
    except ValueError:
        return set()
    if not isinstance(given, dict):
        return set()
    found = [(given.get("tidemill") or {}).get("end_user")] if isinstance(given.get("tidemill"), dict) else []
    if isinstance(body := given.get("body"), dict):
        found += [body.get("user"), body.get("safety_identifier")]
    return {name for each in found if isinstance(each, str) for name in (each, clean_line(each)) if name}
