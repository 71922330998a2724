"""Text of pictures of pages, by the command of tesseract that the operator installed."""

import math
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import closing

import pypdfium2

from tidemill_core.errors import Internal
from tidemill_ingest.limits import ConversionLimits, Ocr
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import unmarked

_RESOLUTION = 200
"""Dots by the inch; letters of text are read well from there on."""
_MAX_PIXELS = 12_000_000
_PASSED = ("PATH", "HOME", "TESSDATA_PREFIX")


class RecognitionKilled(Internal):
    """A signal ended the command, as a machine without memory sends it: the document is not to blame."""

    def __init__(self) -> None:
        super().__init__("recognising text was ended by a signal: try again")


def recognised(document: pypdfium2.PdfDocument, pages: Iterable[int], limits: ConversionLimits) -> Mapping[int, str]:
    """Return the text of these pages that show something, by page; none where no command is installed.

    Raises:
        DocumentRefused: they are too many, or take too long.
        RecognitionKilled: the command was ended from outside.

    """
    ocr, found = limits.ocr, dict[int, str]()
    until = time.monotonic() + ocr.document_s
    if not ocr.command:
        return found
    for done, index in enumerate(shown for shown in pages if _shows_something(document, shown)):
        if done == ocr.max_pages:
            what = f"has more than {ocr.max_pages} pages of pictures alone, the limit: split it"
            raise refusals.too_complex(what=what)
        if text := _read(_picture(document, index), ocr, index + 1, left_s=until - time.monotonic()):
            found[index] = text
    return found


def _shows_something(document: pypdfium2.PdfDocument, index: int) -> bool:
    with closing(document[index]) as page:
        return next(iter(page.get_objects()), None) is not None


def _picture(document: pypdfium2.PdfDocument, index: int) -> bytes:
    """Return the page in shades of grey, as a file that tesseract reads (PGM)."""
    with closing(document[index]) as page:
        width, height = page.get_size()
        scale = min(_RESOLUTION / 72, math.sqrt(_MAX_PIXELS / max(width * height, 1.0)))
        bitmap = page.render(scale=scale, grayscale=True)
        with closing(bitmap):
            pixels = bitmap.to_numpy()
            rows, columns = pixels.shape[:2]
            shades: bytes = pixels.tobytes()
            return f"P5 {columns} {rows} 255\n".encode() + shades


def _read(picture: bytes, ocr: Ocr, page: int, *, left_s: float) -> str:
    variables = {name: os.environ[name] for name in _PASSED if name in os.environ}
    command = [ocr.command, "stdin", "stdout", "-l", ocr.languages]
    try:
        said = subprocess.run(  # noqa: S603 - the operator's own command, and nothing of the document in it
            command,
            input=picture,
            capture_output=True,
            timeout=max(0.0, min(ocr.page_s, left_s)),
            check=True,
            env={**variables, "OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        if left_s < ocr.page_s:
            what = f"has pictures of pages whose text takes more than {ocr.document_s:g} s to recognise: split it"
            raise refusals.too_complex(what=what) from error
        what = f"has a page {page} whose text takes more than {ocr.page_s:g} s to recognise: make its picture smaller"
        raise refusals.too_complex(what=what) from error
    except (OSError, subprocess.CalledProcessError) as error:
        if isinstance(error, subprocess.CalledProcessError) and error.returncode < 0:
            raise RecognitionKilled from error
        check = "have the operator check INGEST_OCR_COMMAND and INGEST_OCR_LANGUAGES, then send it again"
        what = f"has a page {page} of pictures alone, and recognising its text failed: {check}"
        raise refusals.without_text(what=what) from error
    return unmarked(said.stdout.decode("utf-8", "replace").replace("\f", "")).strip()
