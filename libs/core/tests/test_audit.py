"""Chains of audit records: every way to tamper with an export is found, and the first bad record named."""

import json
from collections.abc import Callable

import pytest

from tidemill_core.audit import (
    GENESIS,
    Defect,
    Head,
    canonical,
    hash_of,
    header_of,
    line_of,
    verify,
)

RECORDS = 20


def record(seq: int, **changes: str | int) -> dict[str, str | int]:
    return {"project": "acme", "seq": seq, "subject": "user:ada", "method": "m", "count": 1, "reason": "é\n", **changes}


def chain(records: int = RECORDS, *, project: str = "acme", fork_at: int = 0) -> list[tuple[str, str, str]]:
    """Return hash, predecessor and text of each record."""
    rows, previous = [], GENESIS
    for seq in range(1, records + 1):
        text = canonical(record(seq, project=project, method="other" if seq == fork_at else "m"))
        own = hash_of(previous, text)
        rows.append((own, previous, text))
        previous = own
    return rows


def export(rows: list[tuple[str, str, str]], *, head: Head | None = None, project: str = "acme") -> list[bytes]:
    named = head or Head(seq=len(rows), hash=rows[-1][0] if rows else GENESIS)
    lines = [header_of(project, named), *(line_of(previous, own, text) for own, previous, text in rows)]
    return [f"{line}\n".encode() for line in lines]


def head_of(rows: list[tuple[str, str, str]], seq: int) -> Head:
    return Head(seq=seq, hash=rows[seq - 1][0])


GOOD = chain()


def test_a_good_export_is_verified() -> None:
    found = verify(export(GOOD), [head_of(GOOD, 7), head_of(GOOD, RECORDS)])
    assert (found.defect, found.records, found.first, found.last) == (None, RECORDS, 1, RECORDS)


def test_an_empty_chain_is_verified() -> None:
    assert verify(export([])).defect is None


Tamper = Callable[[list[bytes]], list[bytes]]


def edited(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7].replace(b"user:ada", b"user:eve")
    return lines


def hash_edited(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7][:9] + b"0" * 64 + lines[7][73:]
    return lines


def deleted(lines: list[bytes]) -> list[bytes]:
    del lines[7]
    return lines


def reordered(lines: list[bytes]) -> list[bytes]:
    lines[7], lines[8] = lines[8], lines[7]
    return lines


def truncated(lines: list[bytes]) -> list[bytes]:
    return lines[:8]


def copied(lines: list[bytes]) -> list[bytes]:
    return [*lines[:8], lines[7], *lines[8:]]


def copied_later(lines: list[bytes]) -> list[bytes]:
    return [*lines[:12], lines[7], *lines[12:]]


def made_up(lines: list[bytes]) -> list[bytes]:
    own = GOOD[6][0]
    text = canonical(record(8, method="made up"))
    return [*lines[:8], line_of(own, hash_of(own, text), text).encode() + b"\n", *lines[8:]]


def replaced_and_hashed(lines: list[bytes]) -> list[bytes]:
    previous, text = GOOD[5][0], canonical(record(7, method="made up"))
    lines[7] = line_of(previous, hash_of(previous, text), text).encode() + b"\n"
    return lines


def forked(lines: list[bytes]) -> list[bytes]:
    previous, text = GOOD[5][0], canonical(record(7, method="made up"))
    return [*lines[:8], line_of(previous, hash_of(previous, text), text).encode() + b"\n", *lines[8:]]


def of_another_project(lines: list[bytes]) -> list[bytes]:
    lines[7] = export(chain(project="globex"), project="globex")[7]
    return lines


def cut_short(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7][:100] + b"\n"
    return lines


def spaced(lines: list[bytes]) -> list[bytes]:
    lines[7] = json.dumps(json.loads(lines[7])).encode() + b"\n"
    return lines


def predecessor_edited(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7][:87] + b"0" * 64 + lines[7][151:]
    return lines


def key_edited(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7].replace(b'{"hash"', b'{"hasH"')
    return lines


def end_edited(lines: list[bytes]) -> list[bytes]:
    lines[7] = lines[7][:-2] + b"x\n"
    return lines


def numbered_anew(lines: list[bytes]) -> list[bytes]:
    rows, previous = lines[:7], GOOD[5][0]
    for seq in range(8, RECORDS + 1):
        text = canonical(record(seq))
        own = hash_of(previous, text)
        rows.append(line_of(previous, own, text).encode() + b"\n")
        previous = own
    return rows


def first_deleted(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[3:]]


def header_deleted(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


@pytest.mark.parametrize(
    ("tamper", "defect", "seq"),
    [
        (edited, Defect.EDITED, 7),
        (hash_edited, Defect.EDITED, 7),
        (deleted, Defect.MISSING, 7),
        (reordered, Defect.REORDERED, 7),
        (truncated, Defect.TRUNCATED, 8),
        (copied, Defect.INSERTED, 7),
        (copied_later, Defect.INSERTED, 7),
        (made_up, Defect.FORKED, 8),
        (replaced_and_hashed, Defect.FORKED, 8),
        (forked, Defect.FORKED, 7),
        (of_another_project, Defect.FOREIGN, 7),
        (cut_short, Defect.UNREADABLE, 7),
        (spaced, Defect.EDITED, 7),
        (predecessor_edited, Defect.EDITED, 7),
        (key_edited, Defect.UNREADABLE, 7),
        (end_edited, Defect.UNREADABLE, 7),
        (numbered_anew, Defect.MISSING, 7),
        (first_deleted, Defect.MISSING, 2),
        (header_deleted, Defect.UNREADABLE, 0),
    ],
)
def test_the_first_bad_record_is_named(tamper: Tamper, defect: Defect, seq: int) -> None:
    found = verify(tamper(export(GOOD)), [head_of(GOOD, RECORDS)])
    assert (found.defect, found.seq) == (defect, seq), found.why


def test_a_whole_chain_that_was_written_anew_contradicts_its_anchors() -> None:
    other = chain(fork_at=5)
    anchors = [head_of(GOOD, 3), head_of(GOOD, 10)]
    assert verify(export(other)).defect is None  # nothing in the file shows it
    found = verify(export(other), anchors)
    assert (found.defect, found.seq) == (Defect.NOT_ANCHORED, 10)


def test_a_truncated_chain_with_a_truncated_header_contradicts_its_anchors() -> None:
    short = GOOD[:8]
    assert verify(export(short)).defect is None
    found = verify(export(short), [head_of(GOOD, 12)])
    assert (found.defect, found.seq) == (Defect.TRUNCATED, 9)


def test_a_header_of_another_chain_contradicts_its_records() -> None:
    assert verify(export(GOOD, project="globex")).defect is Defect.FOREIGN
    found = verify(export(GOOD, head=Head(seq=RECORDS, hash="1" * 64)))
    assert (found.defect, found.seq) == (Defect.FORKED, RECORDS)


def test_two_anchors_of_one_number_show_a_fork() -> None:
    found = verify(export(GOOD), [head_of(GOOD, 5), Head(seq=5, hash="2" * 64)])
    assert (found.defect, found.seq) == (Defect.FORKED, 5)


def test_the_rest_of_a_chain_is_verified_from_an_anchor_on() -> None:
    rows = GOOD[10:]
    lines = export(rows, head=head_of(GOOD, RECORDS))
    assert verify(lines, [head_of(GOOD, 10)]).defect is None
    found = verify(lines, [head_of(GOOD, 9), head_of(GOOD, 15)])
    assert (found.defect, found.seq) == (Defect.MISSING, 10)


@pytest.mark.parametrize("value", [1.5, None, True, ["x"], 2**53, "\ud800"])
def test_what_canonical_json_of_a_flat_record_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the library too
        canonical({"name": value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('€$\u000f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),  # the example of RFC 8785, 3.2.2
        ("\b\t\n\f\r\u001f\u007f\u2028", '"\\b\\t\\n\\f\\r\\u001f\u007f\u2028"'),
        ("😀ö", '"😀ö"'),
        (2**53 - 1, "9007199254740991"),
        (-1, "-1"),
    ],
)
def test_texts_and_integers_are_written_as_rfc_8785_has_them(value: str | int, expected: str) -> None:
    assert canonical({"b": value, "a": 1, "B": 2}) == f'{{"B":2,"a":1,"b":{expected}}}'
