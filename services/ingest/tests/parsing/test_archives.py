"""Archives and mails: what is inside, and what of it is refused, before anything of it is read."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence

import pytest

from services.ingest.tests.fakes import spec
from services.ingest.tests.parsing.files import MAIL, TAR, TAR_GZ, ZIP, docx, mail_with, paragraph, tarred, zipped
from services.ingest.tests.parsing.test_pdf import refusal
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.preparation import prepare_document, read_members
from tidemill_ingest.limits import MEBIBYTE, ConversionLimits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.members import PlannedMember

FILES: Mapping[str, str | bytes] = {"a/b.md": "# B", "c.txt": "C"}


def members(content: bytes, media_type: str, limits: ConversionLimits | None = None) -> Sequence[PlannedMember]:
    return prepare_document(spec(media_type=media_type), content, Masking(), limits=limits).members


def reasons(content: bytes, media_type: str, limits: ConversionLimits | None = None) -> dict[str, str]:
    return {each.path: each.reason for each in members(content, media_type, limits)}


def read(content: bytes, media_type: str, *paths: str) -> dict[str, tuple[str, bytes]]:
    found = read_members(content, HeldFile(object_key="", media_type=media_type), paths, Masking())
    return {path: (each.media_type, each.content) for path, each in found.items()}


def header(name: str, kind: bytes, *, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "/etc/passwd", size
    return info


def encrypted(content: bytes) -> bytes:
    """Return a ZIP archive that says that its first file needs a password."""
    changed = bytearray(content)
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(zipped(FILES), ZIP), (tarred(FILES), TAR_GZ), (tarred(FILES, mode="w"), TAR), (tarred(FILES), TAR)],
)
def test_an_archive_says_what_is_in_it_and_gives_each_file(content: bytes, media_type: str) -> None:
    assert members(content, media_type) == (
        PlannedMember(path="a/b.md", media_type="text/markdown", size=3),
        PlannedMember(path="c.txt", media_type="text/plain", size=1),
    )
    assert read(content, media_type, "c.txt", "unknown") == {"c.txt": ("text/plain", b"C")}


def test_a_file_is_what_its_name_says_else_what_the_mail_says_else_what_it_begins_with() -> None:
    content = zipped({"README": "Read me.", "blob": b"\x00\x01"})

    assert read(content, ZIP, "README", "blob") == {
        "README": ("text/plain", b"Read me."),
        "blob": ("application/octet-stream", b"\x00\x01"),
    }
    (attached,) = members(mail_with({"scan": b"%PDF"}), MAIL)
    assert (attached.path, attached.media_type) == ("scan", "application/octet-stream")


def test_a_file_whose_name_is_an_address_has_the_type_of_its_own_name() -> None:
    content = zipped({"ann@acme.com.pdf": b"%PDF", "bob@acme.com.md": "# B", "cv/jo@acme.com.csv": "a,b"})

    planned = {each.path: each.media_type for each in members(content, ZIP)}

    assert planned == {"[EMAIL]": "application/pdf", "[EMAIL] (2)": "text/markdown", "cv/[EMAIL]": "text/csv"}
    assert {path: kind for path, (kind, _) in read(content, ZIP, *planned).items()} == planned


def test_links_devices_and_paths_that_lead_out_are_refused_one_by_one() -> None:
    odd = [
        header("link.md", tarfile.SYMTYPE),
        header("hard.md", tarfile.LNKTYPE),
        header("pipe", tarfile.FIFOTYPE),
        header("disk", tarfile.BLKTYPE),
        header("../up.md", tarfile.REGTYPE),
        header("/abs.md", tarfile.REGTYPE),
    ]
    content = tarred({"ok.md": "fine"}, also=odd)

    assert reasons(content, TAR_GZ) == {"ok.md": ""} | {each.name: "DOCUMENT_UNSAFE" for each in odd}
    with_link = io.BytesIO()
    with zipfile.ZipFile(with_link, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("ok.md", "fine")
    assert reasons(with_link.getvalue(), ZIP) == {"link.md": "DOCUMENT_UNSAFE", "ok.md": ""}
    assert reasons(zipped({"..\\up.md": "x", "C:\\a.md": "x"}), ZIP) == {
        "../up.md": "DOCUMENT_UNSAFE",
        "C:/a.md": "DOCUMENT_UNSAFE",
    }


def test_a_file_with_a_password_is_refused_and_the_others_are_taken() -> None:
    assert reasons(encrypted(zipped(FILES)), ZIP) == {"a/b.md": "DOCUMENT_ENCRYPTED", "c.txt": ""}


@pytest.mark.parametrize("content", [zipped({"a.txt": b"0" * 3 * MEBIBYTE}), tarred({"a.txt": b"0" * 3 * MEBIBYTE})])
def test_bombs_are_refused_by_their_ratio_and_by_what_they_unpack_to(content: bytes) -> None:
    media_type = ZIP if content.startswith(b"PK") else TAR_GZ

    assert refusal(content, media_type) == "DOCUMENT_TOO_COMPLEX"
    loose = ConversionLimits(ratio=10_000, unpacked_bytes=MEBIBYTE)
    assert refusal(content, media_type, loose) == "DOCUMENT_TOO_COMPLEX"
    assert reasons(content, media_type, ConversionLimits(ratio=10_000)) == {"a.txt": ""}


@pytest.mark.heavy
def test_a_tar_header_that_claims_more_than_there_is_is_refused() -> None:
    assert refusal(tarred({}, mode="w", also=[header("a.md", tarfile.REGTYPE, size=8 << 30)]), TAR) in (
        "DOCUMENT_BROKEN",
        "DOCUMENT_TOO_COMPLEX",
    )


def test_a_damaged_archive_is_refused_and_none_of_its_files_is_left_out_unsaid() -> None:
    content = bytearray(tarred({"a.md": "a", "b.md": "b"}, mode="w"))
    content[1024] ^= 0xFF  # in the header of the second file, which the library takes for the end

    assert refusal(bytes(content), TAR) == "DOCUMENT_BROKEN"
    assert refusal(tarred(FILES)[:-20], TAR_GZ) == "DOCUMENT_BROKEN"
    assert refusal(tarred(FILES, mode="w")[:1024], TAR) == "DOCUMENT_BROKEN"
    assert refusal(zipped(FILES)[:-30], ZIP) == "DOCUMENT_BROKEN"


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (docx(paragraph("x")), ZIP, "MEDIA_TYPE_MISMATCH"),
        (b"just words", ZIP, "MEDIA_TYPE_MISMATCH"),
        (b"\x1f\x8b" + b"x" * 100, TAR_GZ, "DOCUMENT_BROKEN"),
        (zipped({}), ZIP, "EMPTY_DOCUMENT"),
        (zipped({".hidden": "x"}), ZIP, "EMPTY_DOCUMENT"),
        (tarred({}), TAR_GZ, "EMPTY_DOCUMENT"),
    ],
)
def test_what_is_no_archive_or_holds_nothing_is_refused(content: bytes, media_type: str, reason: str) -> None:
    assert refusal(content, media_type) == reason


def test_too_many_files_are_refused_whole() -> None:
    many = zipped({f"{number}.md": "x" for number in range(4)})

    assert refusal(many, ZIP, ConversionLimits(entries=3)) == "DOCUMENT_TOO_COMPLEX"
    with pytest.raises(Exception, match="4 files inside, and 3 is the limit"):
        members(many, ZIP, ConversionLimits(members=3))


def test_a_long_path_is_cut_and_refused() -> None:
    (member,) = members(zipped({"x" * 500 + ".md": "x"}), ZIP)

    assert (len(member.path), member.reason) == (400, "DOCUMENT_TOO_COMPLEX")


def test_pictures_that_a_mail_shows_are_no_attachments() -> None:
    content = (
        b"From: a@b\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=z\r\n\r\n"
        b"--z\r\nContent-Type: text/html\r\n\r\n<p>Hi</p>\r\n"
        b"--z\r\nContent-Type: image/png\r\nContent-ID: <1>\r\nContent-Disposition: inline\r\n\r\nxx\r\n--z--\r\n"
    )

    assert members(content, MAIL) == ()
