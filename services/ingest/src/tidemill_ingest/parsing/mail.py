"""Mails become Markdown: subject, who and when, the text, and what is attached by name."""

from email import message_from_bytes, policy
from email.message import EmailMessage

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.converted import Converted, unmarked
from tidemill_ingest.parsing.html import EXTRACTION, markdown_of
from tidemill_ingest.parsing.plain import decoded

_HEADERS = ("From", "To", "Cc", "Date")
_MAX_HEADER = 2000
_MAX_ATTACHMENTS = 1000
_KNOWN = frozenset(("from", "to", "subject", "date", "received", "message-id", "mime-version", "return-path"))


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a mail; attachments are named, not read.

    Raises:
        DocumentRefused: it is none, or nested too deep.

    """
    message = message_from_bytes(content, policy=policy.default)
    if not _KNOWN & {name.lower() for name in message.keys()}:  # noqa: SIM118 - a mail is no mapping
        raise refusals.mismatch(found=signatures.named(content), expected="a mail")
    subject = _header(message, "Subject")
    body, steps = _body(message)
    attached = [_name(part) for part in message.iter_attachments()][:_MAX_ATTACHMENTS]
    facts = "\n".join(f"{name}: {text}  " for name in _HEADERS if (text := _header(message, name)))
    listed = "Attachments:\n\n" + "\n".join(f"- {name}" for name in attached) if attached else ""
    parts = [f"# {subject}" if subject else "", facts, body.strip(), listed]
    text = "\n\n".join(part for part in parts if part)
    return Converted(text=text if body.strip() or subject else "", title=subject, steps=("convert mail", *steps))


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
    return " ".join(unmarked(part.get_filename() or f"without a name ({part.get_content_type()})").split())
