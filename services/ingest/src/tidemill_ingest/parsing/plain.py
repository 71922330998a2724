"""Plain text and Markdown stay what they are."""

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.converted import Converted

_AS_TEXT = (b"%PDF-", b"{\\rtf")
"""How files begin that consist of characters, and are no text."""
_HEAD_BYTES = 8192
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text.

    Raises:
        DocumentRefused: the bytes are no UTF-8 text.

    """
    text, step = decoded(content)
    return Converted(text=text, media_type=media_type, steps=(step,))


def decoded(content: bytes) -> tuple[str, str]:
    """Return the text of bytes, and the step that names its encoding.

    Raises:
        DocumentRefused: the bytes are no UTF-8 text.

    """
    if (content.startswith(_AS_TEXT) or b"\x00" in content[:_HEAD_BYTES]) and signatures.named(content):
        raise refusals.mismatch(found=signatures.named(content), expected="text")
    if content.startswith(_UTF16_MARKS):
        description = "is UTF-16; send it as UTF-8"
        raise refusals.not_text(what=description)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        description = f"is not UTF-8 text (the byte at {error.start}); send text encoded as UTF-8"
        raise refusals.not_text(what=description) from None
    if (place := text.find("\x00")) >= 0:
        description = f"is not text (a NUL at character {place}); send text, not a binary file"
        raise refusals.not_text(what=description)
    return text, "decode utf-8"
