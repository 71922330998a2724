"""The chain of audit records: how a record is hashed, how an export is written, and how it is verified offline.

A record is a flat JSON object of texts and integers. Its hash is the sha256 of the hash before it, as 64 hexadecimal
digits, followed by the record as RFC 8785 canonical JSON. An export is JSON lines: a header, then one line for each
record, `{"hash":"...","previous":"...","record":{...}}`, which is canonical JSON too: the record's bytes are hashed as
they stand, without being parsed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64
"""The hash before a chain's first record."""

MAX_INTEGER = 2**53 - 1
_HASH = slice(9, 73)
_PREVIOUS = slice(87, 151)
_RECORD = slice(162, -1)
_BEGIN, _BETWEEN, _BEFORE_RECORD = b'{"hash":"', b'","previous":"', b'","record":'
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

Record = Mapping[str, str | int]


def canonical(record: Record) -> str:
    """Return a record as RFC 8785 canonical JSON.

    Of flat objects with ASCII names, texts and integers of at most 53 bits, the standard library writes exactly that.

    Raises:
        ValueError: it is no such object.

    """
    for name, value in record.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER
        if not (name.isascii() and (isinstance(value, str) or whole)):
            message = f"{name} is neither a text nor an integer that JSON can carry"
            raise ValueError(message)
    text = _ENCODER.encode(record)
    text.encode()  # refuses half a surrogate pair, as RFC 8785 does
    return text


def hash_of(previous: str, text: str) -> str:
    """Return the hash of a record, as canonical JSON, behind the one with the hash `previous`."""
    return sha256((previous + text).encode()).hexdigest()


def line_of(previous: str, own: str, text: str) -> str:
    """Return a record's line of an export, without its end."""
    return f'{{"hash":"{own}","previous":"{previous}","record":{text}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far a chain goes: its last record, or one that an anchor names."""

    seq: int
    hash: str


def header_of(project: str, head: Head) -> str:
    """Return the first line of an export, without its end; no project means the installation."""
    return _ENCODER.encode({"format": FORMAT, "head_hash": head.hash, "head_seq": head.seq, "project": project})


FORMAT = "tidemill.audit.v1"


class Defect(Enum):
    """What is wrong with a record of a chain."""

    UNREADABLE = "unreadable"
    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    INSERTED = "inserted"
    FORKED = "forked"
    FOREIGN = "foreign"
    TRUNCATED = "truncated"
    NOT_ANCHORED = "not anchored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verification found; `seq` is the first bad record's number, `defect` None where all records are good."""

    records: int
    first: int = 0
    last: int = 0
    defect: Defect | None = None
    seq: int = 0
    why: str = ""


class _Bad(Exception):
    def __init__(self, defect: Defect, seq: int, why: str) -> None:
        self.defect, self.seq, self.why = defect, seq, why


def verify(lines: Iterable[bytes], anchors: Sequence[Head] = ()) -> Verdict:
    """Verify an export: hashes, numbers, the head that it names, and the anchors that were kept elsewhere."""
    rows = iter(lines)
    chain = _Chain(anchors)
    try:
        chain.begin(next(rows, b""))
        chain.follow(rows)
        chain.end()
    except _Bad as bad:
        return chain.verdict(bad)
    return chain.verdict(None)


class _Chain:
    """A chain on its way through a file."""

    def __init__(self, anchors: Sequence[Head]) -> None:
        self._anchors = {each.seq: each.hash for each in anchors}
        self._doubtful = next((each for each in anchors if self._anchors[each.seq] != each.hash), None)
        self._project = ""
        self._head = Head(seq=0, hash=GENESIS)
        self._first = self._next = 0
        self._hash = self._parent = GENESIS.encode()

    def begin(self, header: bytes) -> None:
        """Read the header."""
        try:
            read = json.loads(header)
            if read["format"] != FORMAT:
                raise KeyError(read["format"])  # noqa: TRY301 - as every other header that is none
            self._project, self._head = read["project"], Head(seq=int(read["head_seq"]), hash=str(read["head_hash"]))
        except (ValueError, KeyError, TypeError):
            raise _Bad(Defect.UNREADABLE, 0, "the file does not begin with the header of an audit export") from None
        if self._doubtful is not None:
            why = f"two anchors of record {self._doubtful.seq} name different hashes"
            raise _Bad(Defect.FORKED, self._doubtful.seq, why)

    def follow(self, rows: Iterable[bytes]) -> None:
        """Check record by record: what is common stands here, what is wrong is worked out by `_diagnosed`."""
        anchors, previous, expected = self._anchors, self._hash, 0
        for raw in rows:
            line = raw.rstrip(b"\r\n")
            if not expected:
                expected, previous = self._begun(line)
            own = line[_HASH]
            if (
                line[_PREVIOUS] != previous
                or sha256(previous + line[_RECORD]).hexdigest().encode() != own
                or b',"seq":%d,' % expected not in line
                or not (line.startswith(_BEGIN) and line[151:162] == _BEFORE_RECORD and line[73:87] == _BETWEEN)
                or line[-1:] != b"}"
            ):
                raise self._diagnosed(line, expected, previous, rows)
            if expected in anchors and anchors[expected] != own.decode():
                why = f"it, or a record before it, is not what the anchor of record {expected} was made of"
                raise _Bad(Defect.NOT_ANCHORED, expected, why)
            self._parent, self._hash, self._next = previous, own, expected + 1
            previous, expected = own, expected + 1

    def end(self) -> None:
        """Check that nothing is left out at the end."""
        last, head = self._next - 1 if self._first else 0, self._head
        newest = max([head.seq, *self._anchors])
        if last < newest:
            named = "the export's head" if newest == head.seq else "an anchor"
            raise _Bad(Defect.TRUNCATED, last + 1, f"the file ends here, and {named} is record {newest}")
        if last == head.seq and self._hash.decode() != head.hash:
            raise _Bad(Defect.FORKED, last, "the export's head has another hash")

    def verdict(self, bad: _Bad | None) -> Verdict:
        """Return what was found so far."""
        records = self._next - self._first if self._first else 0
        found = Verdict(records=records, first=self._first, last=self._next - 1 if self._first else 0)
        if bad is None:
            return found
        return Verdict(records=records, first=found.first, last=found.last, defect=bad.defect, seq=bad.seq, why=bad.why)

    def _begun(self, line: bytes) -> tuple[int, bytes]:
        """Return number and predecessor of the first record, which is the first of all, or follows an anchor."""
        read = _read(line)
        if read is None:
            raise _Bad(Defect.UNREADABLE, 1, "the first record is no JSON line of an export")
        seq, previous = read.seq, read.previous
        if read.project != self._project:
            raise _Bad(Defect.FOREIGN, seq, "the records are of another chain than the header names")
        if seq == 1 and previous != GENESIS:
            raise _Bad(Defect.FORKED, 1, "the first record names a record before it")
        if seq > 1 and self._anchors and self._anchors.get(seq - 1) != previous:
            why = f"the file begins with record {seq}, and no anchor of record {seq - 1} proves what was before"
            raise _Bad(Defect.MISSING, seq - 1, why)
        if seq < 1:
            raise _Bad(Defect.UNREADABLE, 1, "the first record has no number")
        self._first = self._next = seq
        return seq, previous.encode()

    def _diagnosed(self, line: bytes, expected: int, previous: bytes, rest: Iterable[bytes]) -> _Bad:
        """Return what is wrong with a record that is not the next one."""
        read = _read(line)
        if read is None:
            return _Bad(Defect.UNREADABLE, expected, "it is no JSON line of an export")
        if hash_of(read.previous, read.text) != read.hash:
            return _Bad(Defect.EDITED, read.seq, "its content is not what its hash was made of")
        if read.project != self._project:
            return _Bad(Defect.FOREIGN, expected, f"record {read.seq} of another chain stands here")
        if read.seq != expected:
            return self._there_before(read, expected) if read.seq < expected else _left_out(read, expected, rest)
        if read.previous.encode() != previous:
            why = f"it follows another record {expected - 1} than the one in the file"
            return _Bad(Defect.FORKED, expected, why)
        return _Bad(Defect.EDITED, expected, "its line is not canonical JSON")

    def _there_before(self, read: "_Line", expected: int) -> _Bad:
        """Return what is wrong with a good record whose number was passed."""
        if read.hash.encode() == self._hash:
            return _Bad(Defect.INSERTED, read.seq, "it is there twice")
        if read.previous.encode() == self._parent and read.seq == expected - 1:
            return _Bad(Defect.FORKED, read.seq, "two different records follow the one before it")
        return _Bad(Defect.INSERTED, read.seq, f"it stands behind record {expected - 1}")


def _left_out(read: "_Line", expected: int, rest: Iterable[bytes]) -> _Bad:
    """Return what is wrong where a later record stands."""
    if any(each is not None and each.seq == expected for each in map(_read, rest)):
        return _Bad(Defect.REORDERED, expected, f"it stands behind record {read.seq}")
    return _Bad(Defect.MISSING, expected, f"record {read.seq} follows record {expected - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    hash: str
    previous: str
    seq: int
    project: str
    text: str


def _read(raw: bytes) -> _Line | None:
    """Return what a line says, None where it is none."""
    try:
        read: dict[str, Any] = json.loads(raw)
        record = read["record"]
        text = canonical(record)
        return _Line(
            hash=read["hash"], previous=read["previous"], seq=record["seq"], project=record["project"], text=text
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
