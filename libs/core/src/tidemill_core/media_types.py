"""What a file is, by its name or its first bytes: for clients, and for files inside of archives."""

from collections.abc import Mapping
from mimetypes import MimeTypes
from pathlib import PurePath

_PLAIN = (
    ".txt", ".text", ".rst", ".adoc", ".asciidoc", ".org", ".tex", ".textile", ".wiki", ".log", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".conf", ".properties", ".xml", ".sql", ".sh", ".bat", ".ps1", ".py", ".js", ".ts",
    ".java", ".go", ".rs", ".c", ".h", ".cpp", ".rb", ".php", ".css", ".srt", ".vtt", ".po",
)  # fmt: skip
_OFFICE = "application/vnd.openxmlformats-officedocument."
MEDIA_TYPES: Mapping[str, str] = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx"), "text/markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "text/html"),
    **dict.fromkeys(_PLAIN, "text/plain"),
    ".pdf": "application/pdf",
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".docm": "application/vnd.ms-word.document.macroenabled.12",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/x-ndjson",
    ".eml": "message/rfc822",
    ".epub": "application/epub+zip",
    ".rtf": "application/rtf",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".tar.gz": "application/gzip",
}
"""By file name suffix. ingest rejects unsupported media types."""

UNREADABLE = "application/octet-stream"
_OTHER_TYPES: Mapping[str, str] = {
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".msg": "application/vnd.ms-outlook",
    ".mbox": "application/mbox",
    ".ipynb": "application/x-ipynb+json",
    **dict.fromkeys((".pem", ".key", ".crt", ".p12", ".kdbx"), "application/x-pem-file"),
}
"""File types that are not plain text although their content may look like it."""
_KNOWN_TYPES = MimeTypes()  # the library's own table: a machine's mime.types may differ
_HEAD_BYTES = 8192
_LONGEST_CHARACTER = 4


def media_type_of(name: str, head: bytes = b"") -> str:
    """Guess the media type from a file name, else from its first bytes."""
    path = PurePath(name.lower())
    for suffix in ("".join(path.suffixes[-2:]), path.suffix):
        if known := MEDIA_TYPES.get(suffix) or _OTHER_TYPES.get(suffix):
            return known
    guessed, packed = _KNOWN_TYPES.guess_type(name)
    if packed or (guessed and not guessed.startswith("text/")):
        return UNREADABLE if packed or not guessed else guessed
    return "text/plain" if head and _reads_as_text(head[:_HEAD_BYTES]) else UNREADABLE


def _reads_as_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - _LONGEST_CHARACTER and len(head) == _HEAD_BYTES
    return True
