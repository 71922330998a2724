"""Mails become Markdown: subject, who and when, the text, and what is attached by name."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.converted import Converted, Entry, unmarked
from tidemill_ingest.parsing.html import EXTRACTION, markdown_of
from tidemill_ingest.parsing.plain import decoded

_HEADERS = ("From", "To", "Cc", "Date")
_MAX_HEADER = 2000
_MAX_ATTACHMENTS = 1000
_MAIL = "message/rfc822"
_KNOWN = frozenset(("from", "to", "subject", "date", "received", "message-id", "mime-version", "return-path"))


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a mail, and its attachments, which become documents of their own.

    Raises:
        DocumentRefused: it is none, or nested too deep.

    """
    message = _opened(content)
    subject = _header(message, "Subject")
    body, steps = _body(message)
    attached = [_name(part) for part in message.iter_attachments()][:_MAX_ATTACHMENTS]
    facts = "\n".join(f"{name}: {text}  " for name in _HEADERS if (text := _header(message, name)))
    listed = "Attachments:\n\n" + "\n".join(f"- {name}" for name in attached) if attached else ""
    parts = [f"# {subject}" if subject else "", facts, body.strip(), listed]
    text = "\n\n".join(part for part in parts if part)
    return Converted(
        text=text if body.strip() or subject or listed else "",
        title=subject,
        steps=("convert mail", *steps),
        entries=list(entries(content, limits)),
    )


def entries(content: bytes, limits: ConversionLimits) -> Iterator[Entry]:  # noqa: ARG001 - they are in the mail's bytes
    """Yield what is attached to a mail, but for pictures that its text shows.

    Raises:
        DocumentRefused: it is no mail, or nested too deep.

    """
    for part in _opened(content).iter_attachments():
        if part.get_content_maintype() == "image" and part.get_content_disposition() != "attachment":
            continue
        data = _attached(part)
        yield Entry(path=_name(part), size=len(data), read=partial(bytes, data), media_type=part.get_content_type())


def _opened(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    if not _KNOWN & {name.lower() for name in message.keys()}:  # noqa: SIM118 - a mail is no mapping
        raise refusals.mismatch(found=signatures.named(content), expected="a mail")
    return message


def _attached(part: EmailMessage) -> bytes:
    """Return the bytes of what is attached; of a mail in a mail, that mail."""
    if part.is_multipart():
        inner = part.get_payload()
        return b"".join(each.as_bytes() for each in inner if isinstance(each, EmailMessage))
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _body(message: EmailMessage) -> tuple[str, tuple[str, ...]]:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return "", ()
    try:
        content = str(part.get_content())
    except LookupError:  # Python does not know its charset
        content, _ = decoded(bytes(part.get_payload(decode=True)))
    text = unmarked(content.replace("\x00", ""))
    return (markdown_of(text), (EXTRACTION,)) if part.get_content_subtype() == "html" else (text, ())


def _header(message: EmailMessage, name: str) -> str:
    """Return a header; a long one ends between two words, since half an address could not be masked."""
    text = " ".join(unmarked(str(message.get(name, ""))).split())
    return text if len(text) <= _MAX_HEADER else text[:_MAX_HEADER].rpartition(" ")[0]


def _name(part: EmailMessage) -> str:
    named = part.get_filename() or ("mail.eml" if part.get_content_type() == _MAIL else _unnamed(part))
    return " ".join(unmarked(named).split())


def _unnamed(part: EmailMessage) -> str:
    return f"without a name ({part.get_content_type()})"
