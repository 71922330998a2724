"""What bytes are, by how they begin, whatever their name or media type says."""

from tidemill_ingest.parsing import refusals

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (_OLE, "a file of Office 97 to 2003, or Outlook"),
    (b"{\\rtf", "RTF"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
)
_PDF_WITHIN = 1024
"""Bytes in front of a PDF that readers pass over."""


def named(content: bytes) -> str:
    """Return what the bytes are, "" where their beginning does not say."""
    start = content[:64].lstrip(b"\xef\xbb\xbf\r\n\t ")
    return next(
        (name for signature, name in _SIGNATURES if content.startswith(signature) or start.startswith(signature)), ""
    )


def require_pdf(content: bytes) -> None:
    """Refuse what is no PDF."""
    if b"%PDF-" not in content[:_PDF_WITHIN]:
        raise refusals.mismatch(found=named(content), expected="a PDF")


def require_container(content: bytes, *, expected: str) -> None:
    """Refuse what is no ZIP container; a protected office document is one inside an OLE file."""
    if content.startswith(_OLE) and _ENCRYPTED_PACKAGE in content:
        raise refusals.encrypted()
    if not content.startswith(b"PK"):
        raise refusals.mismatch(found=named(content), expected=expected)
