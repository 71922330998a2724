"""Who published a submission: Kafka does not say, so its topic does, or the signature of its publisher.

A publisher's certificate is a token for the audience `<audience>:events`, which no API takes, so that it is no secret:
it names the project, the ce_source and the public key (`cnf`, RFC 7800) of what its key signs. It is checked offline
and revoked like every token, and the publisher alone keeps anything secret.
"""

import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from cachetools import LRUCache
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tidemill_core.errors import PermissionDenied, Unauthenticated
from tidemill_core.signed_events import ID, PUBLISHER, SIGNATURE, TIMESTAMP, VERSION, signed_text
from tidemill_kit.access.errors import CredentialInvalid
from tidemill_kit.access.tokens import ANY_PROJECT, Claims
from tidemill_kit.events.cloudevents import CloudEvent, attributes_of
from tidemill_kit.events.records import Record

MAX_AGE_S = 14 * 24 * 3600.0
"""Longer than any submission topic keeps records: no certificate counts for records from before."""
_STRUCTURED = "application/cloudevents"
_SECONDS = re.compile(r"[0-9]{1,12}")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_MAX_CACHED = 1000
_MAX_SIGNATURES = 4
_KEY_BYTES = 32


class SignatureMissing(PermissionDenied):
    """The topic is shared, and the record does not say who published it."""

    reason = "SIGNATURE_MISSING"

    def __init__(self) -> None:
        names = f"{ID}, {TIMESTAMP}, {SIGNATURE}, {PUBLISHER}"
        super().__init__(f"the record is not signed: send the headers {names}, or publish to the topic of its source")


class SignatureInvalid(PermissionDenied):
    """The record is not what its publisher signed, or the publisher may not publish it."""

    reason = "SIGNATURE_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__(f"the signature does not prove who published the record: {why}")


class TopicOfAnother(PermissionDenied):
    """The topic of one source has a record of another, or of another project."""

    reason = "TOPIC_OF_ANOTHER_SOURCE"

    def __init__(self, topic: str) -> None:
        super().__init__(f"the topic {topic} is not that of the event's project and source", topic=topic)


class Certificates(Protocol):
    """Verifies certificates: `Authenticator`."""

    async def publisher(self, token: str, *, at: float) -> Claims:
        """Return what a publisher's certificate says, which counted at that time.

        Raises:
            Unauthenticated: it did not, or was revoked since.
            DependencyUnavailable: that cannot be checked now.

        """
        ...


def source_topic(topic: str, project: str, source: str) -> str:
    """Return the topic of one source, beside the shared `topic`: only its publisher may write there (broker ACL)."""
    return f"{topic}.{project}.{source_name(source)}"


def source_name(source: str) -> str:
    """Return a ce_source as topics name it: without its scheme, with hyphens for all but letters and digits."""
    return _SEPARATORS.sub("-", source.lower().partition("://")[2] or source.lower()).strip("-")


class SubmissionCheck:
    """Lets a record pass that its topic or its signature proves.

    The time that is signed is compared with the record's, not with the clock, so that what comes again, or is redriven
    after days, is judged as it was at first.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        certificates: Certificates,
        *,
        tolerance_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._topics = topics
        self._certificates = certificates
        self._tolerance_s = tolerance_s
        self._now = now
        self._keys: LRUCache[str, Ed25519PublicKey] = LRUCache(_MAX_CACHED)

    async def __call__(self, event: CloudEvent, record: Record) -> None:
        """Return where it is proven.

        Raises:
            TopicOfAnother: the topic is that of another source.
            SignatureMissing, SignatureInvalid: a shared topic, and no signature proves project and source.
            DependencyUnavailable: certificates cannot be checked now.

        """
        if record.topic not in self._topics:
            if record.topic not in {source_topic(topic, event.project, event.source) for topic in self._topics}:
                raise TopicOfAnother(record.topic)
            return
        await self._signed(event, record)

    async def _signed(self, event: CloudEvent, record: Record) -> None:
        sent = _webhook_headers(record)
        if not all(sent.get(name) for name in (ID, TIMESTAMP, SIGNATURE, PUBLISHER)):
            raise SignatureMissing
        arrived = record.timestamp / 1000
        if sent[ID] != event.id:
            raise SignatureInvalid(why=f"{ID} is not the event's id")
        stamp = sent[TIMESTAMP]
        if not _SECONDS.fullmatch(stamp) or abs(int(stamp) - arrived) > self._tolerance_s:
            raise SignatureInvalid(why=f"{TIMESTAMP} is not within {self._tolerance_s:g} s of the record's time")
        now = self._now()
        if arrived > now + self._tolerance_s:
            raise SignatureInvalid(why="the record's time is ahead")
        try:
            claims = await self._certificates.publisher(sent[PUBLISHER], at=min(max(arrived, now - MAX_AGE_S), now))
            key = self._key(claims.public_key)
        except Unauthenticated:
            raise SignatureInvalid(why="the certificate does not count") from None
        if claims.project not in (ANY_PROJECT, event.project) or claims.event_source not in ("", event.source):
            raise SignatureInvalid(why="the certificate is for another project or source")
        if not any(_verifies(key, each, _content(event, record)) for each in sent[SIGNATURE].split()[:_MAX_SIGNATURES]):
            raise SignatureInvalid(why="it is not of this record, or of another key")

    def _key(self, text: str) -> Ed25519PublicKey:
        key = self._keys.get(text)
        if key is None:
            key = self._keys[text] = public_key(text)
        return key


def public_key(text: str) -> Ed25519PublicKey:
    """Return an Ed25519 public key that is written as base64url (RFC 8037, `x`).

    Raises:
        CredentialInvalid: it is none.

    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if len(raw) != _KEY_BYTES:
            raise CredentialInvalid
        return Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError):
        raise CredentialInvalid from None


def _webhook_headers(record: Record) -> Mapping[str, str]:
    """Return the headers of the signature, but for those that are sent twice: which would count?"""
    found: dict[str, str] = {}
    for name, raw in record.headers:
        lower = name.lower()
        if lower in (ID, TIMESTAMP, SIGNATURE, PUBLISHER):
            found[lower] = "" if lower in found else (raw or b"").decode("ascii", "replace")
    return found


def _content(event: CloudEvent, record: Record) -> bytes:
    attributes = attributes_of(record.headers)
    structured = attributes.get("datacontenttype", "").lower().startswith(_STRUCTURED)
    stamp = _webhook_headers(record)[TIMESTAMP]
    return signed_text(event.id, stamp, record.value or b"", None if structured else attributes)


def _verifies(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    version, _, text = signature.partition(",")
    if version != VERSION:
        return False
    try:
        key.verify(base64.b64decode(text, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
