"""Files in a ZIP container, checked before anything is inflated: office documents, books, archives."""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tidemill_core.errors import named
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE, ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Entry
from tidemill_ingest.parsing.signatures import require_container

_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)
"""What the zipfile module raises for files that are cut or made up."""
_KNOWN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_MANY_BYTES = 2
_OFFICE = "[Content_Types].xml"


@dataclass(frozen=True, slots=True)
class Container:
    """The entries of a container whose sizes and names are within the limits."""

    _archive: zipfile.ZipFile
    _limits: ConversionLimits
    names: frozenset[str] = field(default=frozenset())

    def read(self, name: str) -> bytes:
        """Return the bytes of an entry.

        Raises:
            DocumentRefused: it is not there, damaged, or too large.

        """
        if name not in self.names:
            raise refusals.broken(what=f"lacks its part {named(name)}")
        declared = self._archive.getinfo(name).file_size
        if declared > self._limits.part_bytes:
            text = f"has a part of {declared} bytes, and {self._limits.part_bytes} is the limit: split it"
            raise refusals.too_complex(what=text)
        try:
            return self._archive.read(name)
        except _UNREADABLE as error:
            raise refusals.broken(what=f"has a damaged part {named(name)}") from error

    def xml(self, name: str) -> bytes:
        """Return an entry that is XML and declares no entities, which office documents never do.

        Raises:
            DocumentRefused: it is not there, damaged, too large, or declares some.

        """
        data = self.read(name)
        plain = data if data.count(b"\x00", 0, 64) < _MANY_BYTES else data.replace(b"\x00", b"")  # UTF-16
        if _DECLARATION.search(plain):
            raise refusals.unsafe(what=f"declares entities in its part {named(name)}")
        return data


def opened(content: bytes, limits: ConversionLimits, *, expected: str) -> Container:
    """Return a container's entries.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, or not within the limits.

    """
    require_container(content, expected=expected)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _UNREADABLE as error:
        raise refusals.broken(what="is a damaged ZIP container") from error
    entries = archive.infolist()
    if len(entries) > limits.entries:
        text = f"has {len(entries)} files inside, and {limits.entries} is the limit: split it"
        raise refusals.too_complex(what=text)
    _check_sizes(entries, len(content), limits)
    for entry in entries:
        _check(entry)
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise refusals.unsafe(what="has two files of one name inside")
    return Container(archive, limits, frozenset(name for name in names if not name.endswith("/")))


def archived(content: bytes, limits: ConversionLimits) -> Iterator[Entry]:
    """Yield the files of an archive, each with the reason where it cannot be taken.

    Raises:
        DocumentRefused: the archive is damaged, an office document, or not within the limits.

    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except _UNREADABLE as error:
        raise refusals.broken(what="is a damaged ZIP archive") from error
    found = archive.infolist()
    if len(found) > limits.entries:
        text = f"has {len(found)} files inside, and {limits.entries} is the limit: split it"
        raise refusals.too_complex(what=text)
    if any(entry.filename == _OFFICE for entry in found):
        raise refusals.mismatch(found="an office document", expected="an archive")
    _check_sizes(found, len(content), replace(limits, inflated_bytes=limits.unpacked_bytes))
    return (_entry(archive, each) for each in found if not each.is_dir())


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    def read() -> bytes:
        try:
            return archive.read(info)
        except _UNREADABLE as error:
            raise refusals.broken(what=f"is a damaged file of its archive ({named(info.filename)})") from error

    refused = None
    try:
        _check(info)
    except DocumentRefused as error:
        refused = error
    path = info.filename.replace("\\", "/")
    return Entry(path=path, size=info.file_size, read=read, refused=refused)


def _check_sizes(entries: Sequence[zipfile.ZipInfo], size: int, limits: ConversionLimits) -> None:
    inflated = sum(entry.file_size for entry in entries)
    if inflated > limits.inflated_bytes:
        text = f"has {inflated} bytes when inflated, and {limits.inflated_bytes} is the limit: split it"
        raise refusals.too_complex(what=text)
    if sum(entry.compress_size for entry in entries) > size:
        raise refusals.unsafe(what="has files inside that share their bytes")
    for entry in entries:
        ratio = entry.file_size // max(1, entry.compress_size)
        if entry.file_size > MEBIBYTE and ratio > limits.ratio:
            text = f"has a file inside that inflates {ratio} times, and {limits.ratio} is the limit: save it anew"
            raise refusals.too_complex(what=text)


def _check(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if entry.flag_bits & 0x1:
        raise refusals.encrypted()
    if entry.compress_type not in _KNOWN_METHODS:
        raise refusals.broken(what="has a file inside that is compressed in another way than ZIP's own")
    if name.startswith(("/", "\\")) or ":" in name[:3] or "\x00" in name or ".." in re.split(r"[/\\]", name):
        raise refusals.unsafe(what=f"has a file inside whose path leads out of it ({named(name)})")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise refusals.unsafe(what=f"has a link inside ({named(name)}): save it with the file itself")
