"""Archives (ZIP, TAR, TAR in gzip): their text is the list of their files, which become documents of their own."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from tidemill_core.errors import named
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE, ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.containers import archived
from tidemill_ingest.parsing.converted import Converted, Entry, unmarked

_GZIP = b"\x1f\x8b"
_ZIP = b"PK"
_TAR_MAGIC = b"ustar"
_TAR_MAGIC_AT = 257
_NO_DOCUMENTS = ("__macosx", "thumbs.db", "desktop.ini")
"""What systems add to archives unasked; hidden files are passed over as well."""
_UNREADABLE = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, OSError, OverflowError)


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the list of an archive's files, and the files.

    Raises:
        DocumentRefused: it is none, damaged, nested too deep, or not within the limits.

    """
    found = list(_entries(content, limits))
    shown = [entry for entry in found if is_document(entry.path)]
    hidden = (f"{len(found) - len(shown)} hidden files not read",) if len(found) > len(shown) else ()
    listed = "\n".join(f"- {entry.path}" for entry in shown)
    return Converted(text=f"Files:\n\n{listed}" if shown else "", steps=("list archive", *hidden), entries=shown)


def entries(content: bytes, limits: ConversionLimits) -> Iterator[Entry]:
    """Yield the files of an archive that people put there, each to be read before the next one.

    Raises:
        DocumentRefused: it is none, damaged, nested too deep, or not within the limits.

    """
    return (entry for entry in _entries(content, limits) if is_document(entry.path))


def _entries(content: bytes, limits: ConversionLimits) -> Iterator[Entry]:
    if limits.nesting < 1:
        raise refusals.nested(what="is an archive")
    if content.startswith(_ZIP):
        found = archived(content, _unpacked(content, limits))
    elif content.startswith(_GZIP) or _is_tar(content):
        found = _tar_entries(content, limits)
    else:
        raise refusals.mismatch(found=signatures.named(content), expected="a ZIP or TAR archive")
    return (replace(entry, path=" ".join(unmarked(entry.path).split())) for entry in found)


def is_document(path: str) -> bool:
    """Return whether a file is one that people put into an archive."""
    parts = path.split("/")
    return not any(part.startswith(".") or part.lower() in _NO_DOCUMENTS for part in parts if part not in (".", ".."))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpacked(content: bytes, limits: ConversionLimits) -> ConversionLimits:
    """Return the limits of this archive: one that holds no more bytes than it has itself is no bomb."""
    return replace(limits, unpacked_bytes=max(limits.unpacked_bytes, len(content)))


def _is_tar(content: bytes) -> bool:
    return content[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] == _TAR_MAGIC


def _tar_entries(content: bytes, limits: ConversionLimits) -> Iterator[Entry]:
    stream: _Readable = io.BytesIO(content)
    if content.startswith(_GZIP):
        stream = gzip.GzipFile(fileobj=io.BytesIO(content))
    bounded = _Bounded(stream, size=len(content), limits=_unpacked(content, limits))
    try:
        head = bounded.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
        if any(head) and not _is_tar(head):  # an empty archive is all zeros
            raise refusals.mismatch(found="a gzip file of something else", expected="a TAR archive")
        bounded.restart(head)
        with tarfile.open(fileobj=cast("Any", bounded), mode="r|", tarinfo=_Header) as archive:
            for number, info in enumerate(archive, start=1):
                if number > limits.entries:
                    raise refusals.too_complex(what=f"has more than {limits.entries} files inside: split it")
                if not info.isdir():
                    yield _tar_entry(archive, info)
    except _UNREADABLE as error:
        raise refusals.broken(what="is a damaged TAR archive") from error


class _Header(tarfile.TarInfo):
    """The header of a file in an archive. The library takes a damaged one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Header":  # the library's own name is the module's
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            message = "a header is damaged, or missing"
            raise tarfile.ReadError(message) from error


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Entry:
    def read() -> bytes:
        file = archive.extractfile(info)
        return b"" if file is None else file.read()

    return Entry(path=info.name.removeprefix("./"), size=info.size, read=read, refused=_tar_refusal(info))


def _tar_refusal(info: tarfile.TarInfo) -> DocumentRefused | None:
    if info.issym() or info.islnk():
        return refusals.unsafe(what=f"is a link ({named(info.name)}): save the archive with the file itself")
    if not info.isreg() or info.issparse():
        return refusals.unsafe(what=f"is no plain file ({named(info.name)})")
    return (
        refusals.unsafe(what=f"has a path that leads out of its archive ({named(info.name)})")
        if (leads_out(info.name))
        else None
    )


def leads_out(path: str) -> bool:
    """Return whether a path would be written outside of the folder that an archive is unpacked into."""
    parts: Sequence[str] = path.replace("\\", "/").split("/")
    return parts[0] == "" or ":" in parts[0][:3] or ".." in parts or "\x00" in path


@dataclass(slots=True)
class _Bounded:
    """A stream that is read once, and refuses to become too large."""

    stream: _Readable
    size: int
    limits: ConversionLimits
    _read: int = 0
    _ahead: bytes = field(default=b"")

    def restart(self, head: bytes) -> None:
        """Give what was read already once more."""
        self._ahead = head

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            DocumentRefused: there are more than the limits allow.

        """
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        data += self.stream.read(size - len(data))
        self._read += len(data)
        if self._read > self.limits.unpacked_bytes + MEBIBYTE:
            text = f"has more than {self.limits.unpacked_bytes} bytes when unpacked, which is the limit: split it"
            raise refusals.too_complex(what=text)
        if self._read > MEBIBYTE and self._read // max(1, self.size) > self.limits.ratio:
            text = f"unpacks to more than {self.limits.ratio} times its size, which is the limit: send its files"
            raise refusals.too_complex(what=text)
        return data
