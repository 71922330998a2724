"""Rich Text Format becomes plain text."""

from importlib.metadata import version

from striprtf.striprtf import rtf_to_text

from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals, signatures
from tidemill_ingest.parsing.converted import Converted

_STEP = f"convert rtf striprtf {version('striprtf')}"


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text; pictures and embedded objects are not read.

    Raises:
        DocumentRefused: it is none, or damaged.

    """
    if not content.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(b"{\\rtf"):
        raise refusals.mismatch(found=signatures.named(content), expected="RTF")
    text = rtf_to_text(content.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    return Converted(text=text, media_type="text/plain", steps=(_STEP,))
