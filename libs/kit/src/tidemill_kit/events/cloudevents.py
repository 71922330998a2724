"""CloudEvents 1.0 on Kafka: binary mode, which we write, and structured JSON mode, which we also read.

The CloudEvents SDK is not used: it decodes values eagerly, and one that fails does not say which attribute was wrong.
What is left of the binding is this page. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from tidemill_core.errors import InvalidInput, Violation
from tidemill_core.grpc.context import PROJECT_SLUG

JSON = "application/json"
PREFIX = "ce_"

_STRUCTURED = "application/cloudevents+json"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_REQUIRED = ("id", "source", "type", "subject", "project")
_OWN_FIELDS = frozenset({*_REQUIRED, "specversion", "time", "datacontenttype", "sequence", "traceparent"})
_BY_HEADER = {PREFIX + name: name for name in _OWN_FIELDS} | {
    "content-type": "datacontenttype",
    "traceparent": "traceparent",
}
"""The attributes of nearly all headers, so that few names have to be taken apart."""
_LONGEST_ATTRIBUTE = 1024
_LONGEST_NAME = 80
_LONGEST_SEQUENCE = 18
"""Digits of a number that fits in 64 bits."""

Headers = Iterable[tuple[str, bytes | None]]


@dataclass(slots=True, kw_only=True)  # not frozen, which would cost as much as all the rest of reading a record
class CloudEvent:
    """One event: `project`, `source` and `subject` name what it is about, `project`, `source` and `id` itself.

    `seq` is the extension `sequence` where it is a number: our own events are numbered per subject without gaps.
    """

    id: str
    source: str
    type: str
    subject: str
    project: str
    time: datetime
    data: bytes
    content_type: str = JSON
    seq: int | None = None
    traceparent: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


class InvalidEvent(InvalidInput):
    """A record is no CloudEvent that we can take; `attributes` are those that could be read all the same."""

    reason = "INVALID_EVENT"

    def __init__(self, *violations: Violation, attributes: Mapping[str, str]) -> None:
        reasons = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(reasons, violations=violations)
        self.attributes = attributes


def from_record(value: bytes | None, headers: Headers, *, arrive_time: datetime) -> CloudEvent:
    """Return the event of a record; one without a time of its own happened when it arrived.

    Raises:
        InvalidEvent: the record is no CloudEvent, or lacks what Tidemill needs.

    """
    headers = tuple(headers)
    attributes = attributes_of(headers)
    violations = list(_repeated(headers)) if len(attributes) < len(headers) else []
    if attributes.get("datacontenttype", "").lower().startswith("application/cloudevents") and not violations:
        reported, (attributes, value) = attributes, _structured(attributes, value)
        violations += _contradicted(reported, attributes)
    violations += _violations(attributes)
    if not value:
        violations.append(Violation(field="data", description="is empty: send a body with every event"))
    time = _time(attributes.get("time"), violations) or arrive_time
    if violations or value is None:
        unusable = {violation.field for violation in violations}
        usable = {name: text for name, text in attributes.items() if name not in unusable}
        raise InvalidEvent(*violations, attributes=usable)
    sequence = attributes.get("sequence", "")
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes["subject"],
        project=attributes["project"],
        time=time,
        data=value,
        content_type=attributes.get("datacontenttype", JSON),
        seq=int(sequence) if sequence.isascii() and sequence.isdigit() else None,
        traceparent=attributes.get("traceparent", ""),
        extensions={name: text for name, text in attributes.items() if name not in _OWN_FIELDS},
    )


def to_headers(event: CloudEvent) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of the event in binary mode; its data is the record's value."""
    attributes = {
        "specversion": "1.0",
        **{name: getattr(event, name) for name in _REQUIRED},
        "time": event.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        **({"sequence": str(event.seq)} if event.seq is not None else {}),
        **({"traceparent": event.traceparent} if event.traceparent else {}),
        **event.extensions,
    }
    named = ((PREFIX + name, text.encode()) for name, text in attributes.items())
    return (*named, ("content-type", event.content_type.encode()))


def attributes_of(headers: Headers) -> dict[str, str]:
    """Return what the headers say; the content type, and a trace without prefix, are attributes like others."""
    attributes: dict[str, str] = {}
    for header, raw in headers:
        name = _BY_HEADER.get(header) or _named(header)
        if name is not None and name not in attributes:
            attributes[name] = (raw or b"").decode("utf-8", "replace")
    return attributes


def _named(header: str) -> str | None:
    """Return the attribute that a header gives, None for one that gives none."""
    if header.startswith(PREFIX):
        return header[len(PREFIX) :]
    return "datacontenttype" if header.lower() == "content-type" else None


def _repeated(headers: Headers) -> Iterable[Violation]:
    """Refuse attributes that are given twice: a check of one may have missed the other."""
    names = Counter(name for header, _ in headers if (name := _named(header)) is not None)
    for name, times in names.items():
        if times > 1:
            yield Violation(field=name[:_LONGEST_NAME], description=f"is sent {times} times: send it once")


def _contradicted(headers: Mapping[str, str], envelope: Mapping[str, str]) -> Iterable[Violation]:
    """Refuse an event whose envelope says something else than its headers, which may repeat it."""
    for name, text in headers.items():
        if name not in {"datacontenttype", "traceparent"} and envelope.get(name) != text:
            yield Violation(field=name[:_LONGEST_NAME], description="is another one in the headers: send it once")


def _violations(attributes: Mapping[str, str]) -> Iterable[Violation]:
    if (version := attributes.get("specversion", "")) != "1.0":
        yield Violation(field="specversion", description=f"is {version[:20]!r}: send CloudEvents 1.0")
    for name in _REQUIRED:
        text = attributes.get(name, "")
        if not text:
            yield Violation(field=name, description="is missing")
        elif len(text) > _LONGEST_ATTRIBUTE:
            yield Violation(field=name, description=f"has {len(text)} characters: use at most {_LONGEST_ATTRIBUTE}")
        elif not (text.isascii() and text.isprintable()) and _UNPRINTABLE.search(text):
            yield Violation(field=name, description="has control characters, or is not UTF-8")
    sequence = attributes.get("sequence", "")
    if sequence.isascii() and sequence.isdigit() and len(sequence) > _LONGEST_SEQUENCE:
        yield Violation(field="sequence", description=f"has {len(sequence)} digits: use at most {_LONGEST_SEQUENCE}")
    if (project := attributes.get("project")) and not PROJECT_SLUG.fullmatch(project):
        yield Violation(
            field="project", description="is not a project name: lower-case letters, digits and inner hyphens only"
        )


def _time(text: str | None, violations: list[Violation]) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        violations.append(Violation(field="time", description="is no RFC 3339 time with a zone"))
    return moment


def _structured(attributes: Mapping[str, str], value: bytes | None) -> tuple[dict[str, str], bytes | None]:
    """Return attributes and data of an event that is all in the value (CloudEvents JSON format)."""
    if not attributes["datacontenttype"].lower().startswith(_STRUCTURED):
        _refuse("content-type", f"is {attributes['datacontenttype'][:80]!r}: send one event as {_STRUCTURED}")
    try:
        envelope = json.loads(value or b"", parse_constant=_no_json, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        envelope = None
    if not isinstance(envelope, dict):
        _refuse("data", "is not a JSON object, or has a key twice")
    found = {name: str(inner) for name, inner in envelope.items() if isinstance(inner, str | int)}
    found = {name: text for name, text in found.items() if name not in {"data", "data_base64"}}
    found.setdefault("datacontenttype", JSON)
    try:
        return found, _data(envelope, found["datacontenttype"])
    except (binascii.Error, ValueError):
        return _refuse("data_base64", "is not base64", found)


def _data(envelope: Mapping[str, object], content_type: str) -> bytes | None:
    if "data_base64" in envelope:
        return base64.b64decode(str(envelope["data_base64"]), validate=True)
    data = envelope.get("data")
    if isinstance(data, str) and "json" not in content_type:
        return data.encode("utf-8", errors="surrogatepass")
    return None if data is None else json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode()


def _no_json(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        message = "a key occurs twice"
        raise ValueError(message)
    return found


def _refuse(name: str, why: str, attributes: Mapping[str, str] | None = None) -> NoReturn:
    raise InvalidEvent(Violation(field=name, description=why), attributes=attributes or {})
