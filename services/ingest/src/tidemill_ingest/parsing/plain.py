"""Plain text and Markdown stay what they are; the encoding of text is detected where it is not UTF-8."""

import codecs
import re

from charset_normalizer import from_bytes

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.converted import Converted, unmarked

_AS_TEXT = (b"%PDF-", b"{\\rtf")
"""How files begin that consist of characters, and are no text."""
_HEAD_BYTES = 8192
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Of byte order; that of UTF-32 begins with that of UTF-16."""
_DECLARED = re.compile(
    rb"<(?:meta\b[^<>]{0,200}?charset|\?xml\b[^<>]{0,100}?encoding)\s{0,3}=\s{0,3}[\"']?([\w.:-]{1,40})", re.IGNORECASE
)
_DECLARED_WITHIN = 1024
_SAMPLE_BYTES = 65_536
_MIN_BYTES = 24
"""In fewer, any encoding is as likely as another."""
# The first one is preferred where nothing else decides.
_ENCODINGS = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso8859_2", "koi8_r",
    "cp932", "euc_jp", "gb18030", "big5", "euc_kr",
]  # fmt: skip
_MAX_MESS = 0.1
"""The share of characters that do not belong together, as charset-normalizer measures it."""


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text.

    Raises:
        DocumentRefused: the bytes are no text.

    """
    text, step = decoded(content)
    return Converted(text=unmarked(text), media_type=media_type, steps=(step,))


def decoded(content: bytes) -> tuple[str, str]:
    """Return the text of bytes, and the step that names its encoding.

    It is UTF-8, what a byte order mark or a page says, or what reads best, as long as that is clear.

    Raises:
        DocumentRefused: the bytes are no text, or in an encoding that is not clear.

    """
    if (content.startswith(_AS_TEXT) or b"\x00" in content[:_HEAD_BYTES]) and signatures.named(content):
        raise refusals.mismatch(found=signatures.named(content), expected="text")
    text, step = _text(content)
    if (place := text.find("\x00")) >= 0:
        raise refusals.not_text(what=f"is not text (a NUL at character {place}); send text, not a binary file")
    return text, step


def _text(content: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding), f"decode {encoding}"
            except UnicodeDecodeError as error:
                raise refusals.not_text(what=f"is not {encoding} text (the byte at {error.start})") from None
    try:
        return content.decode("utf-8-sig"), "decode utf-8"
    except UnicodeDecodeError as error:
        place = error.start
    encoding = _declared(content) or _detected(content)
    if not encoding:
        what = f"is not UTF-8 text (the byte at {place}), and its encoding is not clear; send text encoded as UTF-8"
        raise refusals.not_text(what=what)
    try:
        return content.decode(encoding), f"decode {encoding} (detected)"
    except UnicodeDecodeError as error:
        what = f"is not {encoding} text (the byte at {error.start}); send text encoded as UTF-8"
        raise refusals.not_text(what=what) from None


def _declared(content: bytes) -> str:
    found = _DECLARED.search(content[:_DECLARED_WITHIN])
    try:
        codec = codecs.lookup(found[1].decode("ascii", "replace")) if found else None
    except LookupError:
        return ""
    # Some codecs of Python are no encodings of text: base64, zip.
    return codec.name if codec and codec.name in {codecs.lookup(each).name for each in (*_ENCODINGS, "latin-1")} else ""


def _detected(content: bytes) -> str:
    sample = content[:_SAMPLE_BYTES]
    if len(sample) < _MIN_BYTES or b"\x00" in sample:
        return ""
    matches = from_bytes(sample, cp_isolation=_ENCODINGS)
    best = matches.best()
    if best is None or best.chaos > _MAX_MESS:
        return ""
    alike = [each.encoding for each in matches if (each.chaos, each.coherence) == (best.chaos, best.coherence)]
    return _ENCODINGS[0] if _ENCODINGS[0] in alike else best.encoding
