"""A submission: which document, its facts, and by which API it came."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from tidemill_core.application import derived_id
from tidemill_core.characters import IGNORABLE
from tidemill_core.digests import body_digest
from tidemill_core.errors import InvalidInput, Violation, named
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.formats import FORMATS, INSTEAD, MEDIA_TYPES
from tidemill_ingest.limits import Limits
from tidemill_ingest.quality.policy import Duplicate, Quality

Fact: TypeAlias = str | float | bool
"""A value of metadata; whole numbers are floats too, as in a protobuf Struct."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_METADATA_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Joiners, direction marks and no-break spaces are spelling; what embeds, overrides or isolates a direction is not.
_UNFIT_FOR_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SCHEMES = ("http", "https", "mailto")
_SCHEME = re.compile(r"([^/?#:]*):")
_NOT_READ = re.compile(rf"[\s\x00-\x1f\x7f-\x9f{IGNORABLE}]+")
"""What browsers leave out of a URI, or readers do not see."""
_SHOWN = 80
_GREATEST_WHOLE_FLOAT = 2**53


class SubmissionChannel(Enum):
    """How a submission came in."""

    GRPC = "grpc"
    UPLOAD = "upload"
    KAFKA = "kafka"
    MEMBER = "member"
    """Inside of another document, whose id is the submission's source."""
    POLL = "poll"
    """Fetched from where the source is polled."""
    ERASURE = "erasure"
    """Nothing was submitted: an erasure was requested at monitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Names what was sent: the event's ce_id and ce_source, or the request id."""

    door: SubmissionChannel
    """The channel: named as in the contract, in stored documents and in the metric's label."""
    id: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSpec:
    """What is said about a document besides its bytes."""

    source: str
    key: str
    media_type: str
    title: str = ""
    uri: str = ""
    language: str = ""
    readers: tuple[str, ...] = ()
    metadata: Mapping[str, Fact] = field(default_factory=dict)
    revision: int = 0

    def check(self, limits: Limits) -> None:
        """Refuse what breaks a rule.

        Raises:
            DocumentRefused: the media type is not supported.
            InvalidInput: naming every other field that breaks its rule.

        """
        if violations := [*key_violations(self.key, limits), *self._violations(limits), *self._metadata(limits)]:
            raise InvalidInput.of(*violations)
        if self.media_type not in MEDIA_TYPES:
            instead = f"{INSTEAD[self.media_type]}; " if self.media_type in INSTEAD else ""
            text = f"is {self.media_type[:_SHOWN]!r}; {instead}supported are {', '.join(MEDIA_TYPES)}, text in UTF-8"
            raise DocumentRefused(reason="UNSUPPORTED_MEDIA_TYPE", field="media_type", description=text)

    def check_text(self) -> None:
        """Refuse a format of bytes, where only text can have come.

        Raises:
            DocumentRefused: the media type is one of those.

        """
        if self.media_type in FORMATS and not FORMATS[self.media_type].text:
            text = f"is {self.media_type!r}, whose bytes an event cannot carry: send it with UploadDocument"
            raise DocumentRefused(reason="UNSUPPORTED_MEDIA_TYPE", field="media_type", description=text)

    def digest(self, content: bytes) -> str:
        """Return the digest of the whole body less its revision: equal exactly where the same was said again."""
        return body_digest(
            content_sha256=hashlib.sha256(content).hexdigest(),
            media_type=self.media_type,
            title=self.title,
            uri=self.uri,
            language=self.language,
            readers=self.readers,
            metadata=self.metadata,
        )

    def _violations(self, limits: Limits) -> Iterator[Violation]:
        for name, text, limit in (("title", self.title, limits.title_length), ("uri", self.uri, limits.uri_length)):
            if len(text) > limit:
                yield too_long(name, len(text), limit)
        if (scheme := _SCHEME.match(_NOT_READ.sub("", self.uri))) and scheme[1].lower() not in _SCHEMES:
            text = f"has the scheme {scheme[1][:_SHOWN]!r}; supported are {', '.join(_SCHEMES)}"
            yield Violation("uri", text)
        if self.language and not _LANGUAGE.fullmatch(self.language):
            yield Violation("language", "is no BCP 47 language tag, such as en or de-CH")
        if len(self.readers) > limits.readers:
            text = f"has {len(self.readers)} entries, and {limits.readers} is the limit"
            yield Violation("readers", text)
        for index, reader in enumerate(self.readers[: limits.readers]):
            if not reader.strip() or len(reader) > limits.reader_length:
                text = f"needs 1 to {limits.reader_length} characters, such as group:support"
                yield Violation(f"readers[{index}]", text)
        if self.revision < 0:
            yield Violation("revision", f"is {self.revision}; send 0 (for none) or more")

    def _metadata(self, limits: Limits) -> Iterator[Violation]:
        if len(self.metadata) > limits.metadata_entries:
            yield Violation("metadata", f"has {len(self.metadata)} entries, and {limits.metadata_entries} is the limit")
            return
        for key, value in self.metadata.items():
            if problem := _fact_problem(key, value, limits):
                yield Violation(f"metadata[{named(key)}]", problem)
        size = len(json.dumps(dict(self.metadata)).encode())
        if size > limits.metadata_bytes:
            yield Violation("metadata", f"has {size} bytes as JSON, and {limits.metadata_bytes} is the limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionFacts:
    """What decides whether a submission makes a version, known before its text is prepared."""

    revision: int
    body_digest: str
    masking: tuple[str, ...]
    quality: Quality = field(default_factory=Quality)
    duplicate: Duplicate | None = None
    boilerplate: str | None = None
    """The digest of what is to be removed of the stored content now, or UNCOUNTED; None where nothing is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentName:
    """An id, or a source and its key; a key alone where that is enough."""

    id: str = ""
    source: str = ""
    key: str = ""

    def check(self, *, key_alone: bool = False) -> None:
        """Refuse what names nothing, or names it twice.

        Raises:
            InvalidInput: saying what to send.

        """
        by_id = bool(self.id) and not self.source and not self.key
        by_key = not self.id and bool(self.key) and (bool(self.source) or key_alone)
        if not (by_id or by_key):
            raise InvalidInput.at(field="id", text="name the document by `id` alone, or by `source` and `key`")

    def __str__(self) -> str:
        """Return how people name the document."""
        return self.id or f"{self.key!r} of source {self.source!r}"


def document_key(key: str) -> str:
    """Return the key in NFC: names that look alike are one name, however a system writes their accents."""
    return unicodedata.normalize("NFC", key)


def document_id(project: str, source: str, key: str) -> str:
    """Return the id of a document: the same at every API."""
    return derived_id(project, source, document_key(key))


def key_violations(key: str, limits: Limits) -> Iterator[Violation]:
    """Yield what is wrong with a document's key."""
    if not key.strip():
        yield Violation("key", "is empty: send the source's own name for the document")
    if len(key) > limits.key_length:
        yield too_long("key", len(key), limits.key_length)
    if _UNFIT_FOR_NAMES.search(key):
        yield Violation("key", "has control characters, or ones that turn the direction of writing: leave them out")


def check_size(size: int, *, field: str, limit: int, instead: str) -> None:
    """Refuse empty content, and content above the limit.

    Raises:
        DocumentRefused: naming field, size and limit, and what to do `instead`.

    """
    if size == 0:
        raise DocumentRefused(reason="EMPTY_DOCUMENT", field=field, description="has 0 bytes: send at least one")
    if size > limit:
        text = f"has {size} bytes, and {limit} is the limit: {instead}"
        raise DocumentRefused(reason="DOCUMENT_TOO_LARGE", field=field, description=text)


def too_long(field: str, length: int, limit: int) -> Violation:
    """Return the violation of a text that is too long."""
    return Violation(field, f"has {length} characters, and {limit} is the limit: shorten it")


def _fact_problem(key: str, value: Fact, limits: Limits) -> str:
    if not _METADATA_KEY.fullmatch(key):
        return "is no name: 1 to 64 of A-Z, a-z, 0-9, _, . and -, starting with a letter or _"
    if isinstance(value, str):
        long = len(value) > limits.metadata_value_length
        return f"has {len(value)} characters, and {limits.metadata_value_length} is the limit" if long else ""
    if not math.isfinite(value):
        return "is no finite number"
    return "is too great to be exact: send it as a string" if abs(value) > _GREATEST_WHOLE_FLOAT else ""


def media_type_of(text: str) -> str:
    """Return a media type as the rules name it; `; charset=utf-8` is understood, anything else stays to be refused."""
    name, _, parameters = text.strip().lower().partition(";")
    return name.strip() if parameters.replace(" ", "").replace('"', "") in ("", "charset=utf-8") else text.strip()
