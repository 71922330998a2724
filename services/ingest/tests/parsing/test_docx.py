import zipfile

import pytest

from services.ingest.tests.parsing.files import DOCX, docx, docx_parts, office_parts, paragraph, zipped
from services.ingest.tests.parsing.test_pdf import HANDBOOK, page, refusal
from tidemill_ingest.limits import MEBIBYTE, ConversionLimits
from tidemill_ingest.parsing.text import extract

BREAK = "<w:lastRenderedPageBreak/>"
CELLS = "".join(f"<w:tc>{paragraph(each)}</w:tc>" for each in ("Region", "Days"))
TABLE = f"<w:tbl><w:tr>{CELLS}</w:tr><w:tr>{CELLS.replace('Region', 'Nordics').replace('Days', '16')}</w:tr></w:tbl>"
LEAVE = paragraph("Leave", style="heading 1") + paragraph("Fourteen weeks.") + TABLE
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def test_headings_and_tables_stay_what_they_are() -> None:
    extracted = extract(docx(LEAVE), DOCX)

    assert extracted.text == "# Leave\n\nFourteen weeks.\n\n| Region | Days |\n| --- | --- |\n| Nordics | 16 |"
    assert (extracted.title, extracted.anchors) == ("Leave", ())


def test_pages_are_those_that_word_laid_out() -> None:
    extracted = extract(docx(paragraph("One") + paragraph("Two", before=BREAK)), DOCX)

    assert extracted.text == "One\n\nTwo"
    assert extracted.anchors == (page(0, 1), page(5, 2))


@pytest.mark.parametrize("style", ["heading 1", "heading 2"])
def test_a_page_that_begins_with_a_heading_begins_with_its_markup(style: str) -> None:
    extracted = extract(docx(paragraph("One") + paragraph("Two", style=style, before=BREAK)), DOCX)

    assert extracted.text == f"One\n\n{'#' * int(style[-1])} Two"
    assert extracted.anchors == (page(0, 1), page(5, 2))


def test_breaks_that_an_author_set_count_where_word_laid_out_none() -> None:
    extracted = extract(docx(paragraph("One") + paragraph("Two", before='<w:br w:type="page"/>')), DOCX)

    assert [each.number for each in extracted.anchors] == [1, 2]


def test_macros_and_what_is_embedded_or_linked_is_not_read() -> None:
    parts = docx_parts(LEAVE) | {"word/vbaProject.bin": b"Sub AutoOpen()", "word/embeddings/a.bin": b"x"}
    relations = '<Relationship Id="r9" Type="x/attachedTemplate" Target="http://evil.example/t" TargetMode="External"/>'
    rels = str(parts["word/_rels/document.xml.rels"]).replace("</Rel", f"{relations}</Rel", 1)

    extracted = extract(zipped(parts | {"word/_rels/document.xml.rels": rels}), DOCX)

    assert "macros not read" in extracted.steps
    assert "Sub" not in extracted.text


def test_the_title_is_that_of_the_properties() -> None:
    core = '<p xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Leave policy</dc:title></p>'

    assert extract(zipped(docx_parts(LEAVE) | {"docProps/core.xml": core}), DOCX).title == "Leave policy"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HANDBOOK, "MEDIA_TYPE_MISMATCH"),
        (b"words", "MEDIA_TYPE_MISMATCH"),
        (OLE, "MEDIA_TYPE_MISMATCH"),
        (zipped({"a.txt": "x"}), "MEDIA_TYPE_MISMATCH"),
        (zipped(office_parts("xl/workbook.xml", "a/spreadsheetml.sheet.main+xml")), "MEDIA_TYPE_MISMATCH"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "DOCUMENT_ENCRYPTED"),
        (docx(LEAVE)[:-30], "DOCUMENT_BROKEN"),
        (docx(LEAVE[:-9]), "DOCUMENT_BROKEN"),
        (docx(""), "EMPTY_DOCUMENT"),
        (docx(LEAVE).replace(b"word/styles.xml", b"../x/styles.xml"), "DOCUMENT_UNSAFE"),
        (zipped(docx_parts(LEAVE), method=zipfile.ZIP_BZIP2), "DOCUMENT_BROKEN"),
    ],
)
def test_what_is_no_whole_word_document_is_refused(content: bytes, reason: str) -> None:
    assert refusal(content, DOCX) == reason


def test_entities_are_refused_before_any_parser_expands_them() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    parts = docx_parts(paragraph("&b;"))
    parts["word/document.xml"] = bomb + str(parts["word/document.xml"])

    assert refusal(zipped(parts), DOCX) == "DOCUMENT_UNSAFE"


def test_what_inflates_too_much_is_refused_by_its_declared_sizes() -> None:
    many = docx_parts(LEAVE) | {"word/media/a.bin": bytes(2 * MEBIBYTE)}
    small = ConversionLimits(inflated_bytes=MEBIBYTE)

    assert refusal(zipped(many), DOCX) == "DOCUMENT_TOO_COMPLEX"
    assert refusal(docx(LEAVE + paragraph("x" * MEBIBYTE)), DOCX, small) == "DOCUMENT_TOO_COMPLEX"
    assert refusal(docx(LEAVE), DOCX, ConversionLimits(entries=4)) == "DOCUMENT_TOO_COMPLEX"
    assert extract(docx(LEAVE), DOCX, ConversionLimits(entries=5)).text


def test_markup_that_is_nested_too_deep_is_refused() -> None:
    deep = "<w:sdt><w:sdtContent>" * 3000 + paragraph("x") + "</w:sdtContent></w:sdt>" * 3000

    assert refusal(docx(deep), DOCX) == "DOCUMENT_TOO_COMPLEX"
