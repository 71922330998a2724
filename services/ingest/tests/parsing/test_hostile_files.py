"""Broken, hostile and odd files of every format, made from whole ones: each is read or refused with a reason.

Of archives and mails what is inside is read as well.
"""

import io
import os
import random
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from services.ingest.tests.fakes import ACME, NamesHere, spec
from services.ingest.tests.parsing.files import (
    DOCX,
    EPUB,
    PDF,
    PPTX,
    TAR,
    TAR_GZ,
    XLSX,
    ZIP,
    docx,
    epub,
    mail,
    pptx_file,
    tarred,
    xlsx,
    zipped,
)
from services.ingest.tests.parsing.test_docx import LEAVE
from services.ingest.tests.parsing.test_pdf import HANDBOOK
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.preparation import ProcessPreparation
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import MEBIBYTE
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.processes import Processes

QUICK = 120
CASES = int(os.environ.get("TIDEMILL_GENERATED_CASES", QUICK))
MAX_S = 300.0
"""What one may take in all on a busy machine, beside its 20 s of processor time; most take milliseconds."""
REASONS = frozenset((
    "DOCUMENT_BROKEN", "DOCUMENT_ENCRYPTED", "DOCUMENT_TOO_COMPLEX", "DOCUMENT_UNSAFE", "EMPTY_DOCUMENT",
    "MEDIA_TYPE_MISMATCH", "NESTED_TOO_DEEP", "NOT_TEXT", "NO_TEXT_LAYER",
))  # fmt: skip
_FILES: Mapping[str, str | bytes] = {"a/notes.md": "# Notes\n\nText.", "b.csv": "a,b\n1,2\n", "c.docx": docx(LEAVE)}
WHOLE: Mapping[str, bytes] = {
    PDF: HANDBOOK,
    DOCX: docx(LEAVE),
    PPTX: pptx_file(),
    XLSX: xlsx(hidden=True),
    EPUB: epub(),
    "message/rfc822": mail(),
    ZIP: zipped(_FILES),
    TAR: tarred(_FILES, mode="w"),
    TAR_GZ: tarred(_FILES),
    "application/rtf": rb"{\rtf1\ansi{\fonttbl\f0 Arial;}\f0 Gr\'fc\'dfe {\b now} \u8364? \par {\*\x y}}",
    "application/json": b'[{"a": {"b": [1, 2.5, null, "x"]}}, {"a": true}]',
    "application/jsonl": b'{"a": 1, "b": "x"}\n{"a": 2}\n',
    "text/csv": b'a,b\n1,"x\ny"\n"2",z\n',
    "text/html": b"<html><head><title>T</title></head><body><h1>A</h1><table><tr><td>1</table><p>x</body></html>",
    "text/markdown": b"---\ntitle: x\n---\n# A\n\n- b\n\n| a |\n| - |\n| 1 |\n",
}
Change = Callable[[random.Random, bytes], bytes]


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


def _flipped(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 4, 32))):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _removed(dice: random.Random, data: bytes) -> bytes:
    start = dice.randrange(len(data))
    return data[:start] + data[start + dice.randrange(1, 200) :]


def _repeated(dice: random.Random, data: bytes) -> bytes:
    start = dice.randrange(len(data))
    part = data[start : start + dice.randrange(1, 200)]
    return data[:start] + part * dice.choice((2, 50, 2000)) + data[start:]


def _filled(dice: random.Random, data: bytes) -> bytes:
    start = dice.randrange(len(data))
    filler = dice.choice((b"\x00", b"\xff", b"(", b"<", b"[", b"{", b'"', b"\\", b"%", b"\xef\xb7\x951\xef\xb7\x96"))
    return data[:start] + filler * dice.choice((1, 100, 20_000)) + data[start:]


def _numbers(dice: random.Random, data: bytes) -> bytes:
    places = [place for place, byte in enumerate(data) if 48 <= byte < 58]
    if not places:
        return _flipped(dice, data)
    place = dice.choice(places)
    return data[:place] + dice.choice((b"0", b"-1", b"99999999999", b"2147483648", b"1e999")) + data[place + 1 :]


_CHANGES: tuple[Change, ...] = (_cut, _flipped, _removed, _repeated, _filled, _numbers)


def _within(dice: random.Random, data: bytes) -> bytes:
    """Change one part of a container, so that its own checks pass."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts: dict[str, bytes] = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(sorted(parts))
    match dice.randrange(6):
        case 0:
            parts[dice.choice(("../x", "/etc/passwd", "a\\..\\b", "C:x", "x" * 300))] = b"x"
        case 1:
            parts[name] = b"A" * (5 * MEBIBYTE)
        case 2:
            parts[name] = b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>" + parts[name]
        case 3:
            del parts[name]
        case 4:
            parts[name] = b"<a>" * 50_000
        case _:
            parts[name] = dice.choice(_CHANGES)(dice, parts[name] or b"x")
    return zipped(parts)


@dataclass(frozen=True)
class Case:
    """One file; the seed makes it again."""

    seed: int
    media_type: str
    content: bytes


def cases(count: int) -> Iterator[Case]:
    for seed in range(count):
        dice = random.Random(seed)  # noqa: S311 - to be the same in each run
        media_type = sorted(WHOLE)[seed % len(WHOLE)]
        content = WHOLE[media_type]
        if content.startswith(b"PK") and dice.random() < 0.6:
            content = _within(dice, content)
        else:
            for _ in range(dice.choice((1, 1, 3))):
                content = dice.choice(_CHANGES)(dice, content) or b"x"
        lies = dice.random() < 0.05
        yield Case(seed, dice.choice(sorted(WHOLE)) if lies else media_type, content)


async def _outcome(preparation: ProcessPreparation, case: Case) -> str:
    started = time.monotonic()
    try:
        prepared = await preparation.prepare(ACME, spec(media_type=case.media_type), case.content, masking=Masking())
    except DocumentRefused as refused:
        outcome = refused.reason
    else:
        assert all(0 <= each.start <= len(prepared.text) for each in prepared.anchors), case.seed
        assert [each.start for each in prepared.anchors] == sorted(each.start for each in prepared.anchors), case.seed
        assert not set("\ufdd5\ufdd6") & set(prepared.text), case.seed
        outcome = "read"
        held = HeldFile(object_key="", media_type=case.media_type)
        paths = [each.path for each in prepared.members if not each.reason]
        read = await preparation.read_members("acme", case.content, held, paths=paths, masking=Masking())
        assert all(each.reason in REASONS | {""} for each in read.values()), case.seed
    assert time.monotonic() - started < MAX_S, (case.seed, case.media_type)
    return outcome


@pytest.mark.heavy
@pytest.mark.timeout(3600)
async def test_every_broken_hostile_or_odd_file_is_read_or_refused_with_a_reason() -> None:
    processes = Processes(workers=1, cpu_s=20.0, wall_s=MAX_S)
    preparation = ProcessPreparation(processes, names=NamesHere(), phone_regions=("US",))
    await preparation.start()
    outcomes = dict[str, int]()
    try:
        for case in cases(CASES):
            outcome = await _outcome(preparation, case)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert outcome in REASONS | {"read"}, case.seed
    finally:
        await preparation.stop()

    assert outcomes.keys() >= {"read", "DOCUMENT_BROKEN", "DOCUMENT_TOO_COMPLEX", "DOCUMENT_UNSAFE"}
