"""Scans: refused without OCR, and read where it is installed. Most tests use a command that only stands for it."""

import shutil
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest

from services.ingest.tests.parsing.files import pdf
from tidemill_ingest.anchors import Anchor, AnchorKind
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import ConversionLimits, Ocr
from tidemill_ingest.parsing.ocr import RecognitionKilled
from tidemill_ingest.parsing.text import extract

PDF = "application/pdf"
TESSERACT = shutil.which("tesseract")


def scan(*texts: str) -> bytes:
    """Return a PDF of pictures of pages, which say these words."""
    made = pypdfium2.PdfDocument.new()
    printed = pypdfium2.PdfDocument(pdf(*[[(text, 40)] for text in texts]))
    for page in printed:
        picture = pypdfium2.PdfImage.new(made)
        picture.set_bitmap(page.render(scale=2))
        picture.set_matrix(pypdfium2.PdfMatrix().scale(612, 792))
        added = made.new_page(612, 792)
        added.insert_obj(picture)
        added.gen_content()
    made.save(file := BytesIO())
    return file.getvalue()


def stands_for_tesseract(folder: Path, does: str) -> str:
    """Return a command that is called as tesseract is, and reads no letters at all."""
    command = folder / "ocr"
    command.write_text(f"#!/bin/sh\nhead -c 2 | grep -q P5 || exit 3\ncat > /dev/null\n{does}\n", encoding="utf-8")
    command.chmod(0o755)
    return str(command)


def read(content: bytes, command: str, *, max_pages: int = 2, page_s: float = 20.0) -> str:
    ocr = Ocr(command=command, max_pages=max_pages, page_s=page_s)
    return extract(content, PDF, ConversionLimits(ocr=ocr)).text


def test_a_scan_is_read_page_by_page_where_a_command_is_installed(tmp_path: Path) -> None:
    command = stands_for_tesseract(tmp_path, 'echo "# words in $4"; printf "\\f"')

    extracted = extract(scan("one", "two"), PDF, ConversionLimits(ocr=Ocr(command=command, languages="deu+eng")))

    assert extracted.text == "\\# words in deu+eng\n\n\\# words in deu+eng"
    assert extracted.anchors == (
        Anchor(start=0, kind=AnchorKind.PAGE, number=1),
        Anchor(start=21, kind=AnchorKind.PAGE, number=2),
    )
    assert any("recognise" in step for step in extracted.steps)


def test_pages_with_text_are_not_recognised_again(tmp_path: Path) -> None:
    command = stands_for_tesseract(tmp_path, "echo other words")

    assert read(pdf([("Printed words", 12)], []), command) == "Printed words"


def test_a_scan_without_a_command_keeps_its_reason() -> None:
    with pytest.raises(DocumentRefused, match="recognise its text first") as refused:
        read(scan("one"), "")

    assert refused.value.reason == "NO_TEXT_LAYER"


@pytest.mark.parametrize(
    ("does", "reason", "said"),
    [
        ("exit 1", "NO_TEXT_LAYER", "INGEST_OCR_COMMAND"),
        ("exec sleep 5", "DOCUMENT_TOO_COMPLEX", "takes more than 0.2 s"),
        ("true", "NO_TEXT_LAYER", "no text was recognised"),
    ],
)
def test_what_cannot_be_recognised_says_why(tmp_path: Path, does: str, reason: str, said: str) -> None:
    page_s = 0.2 if "sleep" in does else 20.0
    with pytest.raises(DocumentRefused, match=said) as refused:
        read(scan("one"), stands_for_tesseract(tmp_path, does), page_s=page_s)

    assert refused.value.reason == reason


def test_all_pages_of_a_document_have_one_time_together(tmp_path: Path) -> None:
    ocr = Ocr(command=stands_for_tesseract(tmp_path, "sleep 0.2; echo words"), document_s=0.3)
    with pytest.raises(DocumentRefused, match=r"more than 0\.3 s") as refused:
        extract(scan("one", "two", "three"), PDF, ConversionLimits(ocr=ocr))

    assert refused.value.reason == "DOCUMENT_TOO_COMPLEX"


def test_a_command_that_is_killed_says_nothing_about_the_document(tmp_path: Path) -> None:
    with pytest.raises(RecognitionKilled):
        read(scan("one"), stands_for_tesseract(tmp_path, "kill -9 $$"))


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused, match="INGEST_OCR_COMMAND"):
        read(scan("one"), str(tmp_path / "none"))


def test_pages_to_recognise_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused, match="more than 2 pages of pictures"):
        read(scan("one", "two", "three"), stands_for_tesseract(tmp_path, "echo words"))


@pytest.mark.skipif(not TESSERACT, reason="tesseract is not installed here")
def test_tesseract_itself_reads_a_scan() -> None:
    assert "Reset" in read(scan("Reset the router"), TESSERACT or "")
