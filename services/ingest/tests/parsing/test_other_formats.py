import json

import pytest

from services.ingest.tests.parsing.files import EPUB, PPTX, XLSX, epub, mail, pptx_file, xlsx
from services.ingest.tests.parsing.test_pdf import HANDBOOK, refusal
from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing.text import Extracted, extract


def places(extracted: Extracted) -> list[tuple[str, AnchorKind, int, str]]:
    """Return what begins at each anchor, and the anchor."""
    found = ((extracted.text[each.start : each.start + 9], each) for each in extracted.anchors)
    return [(text, each.kind, each.number, each.name) for text, each in found]


def test_a_sheet_is_a_table_whose_rows_have_the_numbers_of_the_sheet() -> None:
    extracted = extract(xlsx(hidden=True), XLSX)

    assert extracted.text == (
        "## Prices\n\n| Part | Price |\n| --- | --- |\n| PX-1 | 253.5 |\n| both | 5 |\n| both | 6 |"
    )
    assert places(extracted) == [
        ("## Prices", AnchorKind.SHEET, 1, "Prices"),
        ("| Part | ", AnchorKind.ROW, 3, ""),
        ("| PX-1 | ", AnchorKind.ROW, 4, ""),
        ("| both | ", AnchorKind.ROW, 5, ""),
        ("| both | ", AnchorKind.ROW, 6, ""),
    ]
    assert "1 hidden sheets not read" in extracted.steps


def test_of_many_rows_every_nth_has_an_anchor() -> None:
    rows = "\n".join(f"{number},x" for number in range(1, 101))
    extracted = extract(rows.encode(), "text/csv", ConversionLimits(anchors=20))

    assert [each.number for each in extracted.anchors] == list(range(5, 101, 5))


@pytest.mark.heavy
def test_cells_too_far_apart_are_refused_before_the_library_allocates_what_is_between() -> None:
    assert refusal(xlsx(far=(1_000_000, 9)), XLSX) == "DOCUMENT_TOO_COMPLEX"
    assert extract(xlsx(far=(5000, 9)), XLSX).text.endswith("| far |\n| --- |")


def test_a_slide_has_its_title_its_text_its_tables_and_its_notes() -> None:
    extracted = extract(pptx_file(), PPTX)

    assert extracted.text == (
        "## Quarter\n\n- One\n  - Two\n\n| Region | Days |\n| --- | --- |\n| Nordics |  |\n\nNotes: Say this."
    )
    assert places(extracted) == [("## Quarte", AnchorKind.SLIDE, 1, "Quarter")]


def test_a_mail_is_its_subject_its_text_and_the_names_of_what_is_attached() -> None:
    extracted = extract(mail(), "message/rfc822")

    assert extracted.title == "Outage"
    assert extracted.text.startswith("# Outage\n\nFrom: ops@acme.example")
    assert extracted.text.endswith("The badge server is down.\n\nAttachments:\n\n- plan.pdf")


def test_a_book_has_an_anchor_for_each_chapter() -> None:
    extracted = extract(epub(), EPUB)

    assert (extracted.title, extracted.text) == ("Book", "# Rules\n\nNo dogs.")
    assert places(extracted) == [("# Rules\n\n", AnchorKind.CHAPTER, 1, "Rules")]


def test_rtf_is_its_text() -> None:
    assert extract(rb"{\rtf1\ansi\ansicpg1252 Gr\'fc\'dfe {\b now}}", "application/rtf").text == "Grüße now"


@pytest.mark.parametrize("text", ['a;"b;\nc"\n1;2\n', 'a,"b;\nc"\n1,2\n', 'a\t"b;\nc"\n1\t2\n'])
def test_values_with_any_separator_are_a_table(text: str) -> None:
    assert extract(text.encode(), "text/csv").text == "| a | b; c |\n| --- | --- |\n| 1 | 2 |"


def test_flat_records_are_a_table_and_others_a_section_each() -> None:
    flat = [{"id": 1, "ok": True}, {"id": 2, "ok": None}]
    lines = "\n".join(json.dumps(each) for each in flat).encode()

    extracted = extract(lines, "application/jsonl")
    assert extracted.text == "| id | ok |\n| --- | --- |\n| 1 | true |\n| 2 |  |"
    assert [(text, number) for text, _, number, _ in places(extracted)] == [("| 1 | tru", 1), ("| 2 |  |", 2)]
    assert extract(json.dumps(flat).encode(), "application/json").text == extracted.text
    nested = extract(b'[{"a": {"b": [1, 2]}}]', "application/json")
    assert nested.text == "## Record 1\n\n- a:\n  - b:\n    - 1\n    - 2"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Die Prüfung kostet 5 € für jede Straße, 12 m² oder mehr.", "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "cp1250"),
        ("Привет, это проверка кодировки текста.", "cp1251"),
        ("日本語のテキストです。これは文字コードの検査です。", "cp932"),
        ("这是一个用于检测编码的中文文本。我们看看。", "gb18030"),
        ("The gate opens at six.", "utf-16"),
        ("The gate opens at six.", "utf-32"),
    ],
)
def test_text_in_another_encoding_is_read(text: str, encoding: str) -> None:
    extracted = extract(text.encode(encoding), "text/plain")

    assert extracted.text == text
    assert extracted.steps[0].startswith(f"decode {encoding}")


def test_a_page_that_names_its_encoding_is_read_in_it() -> None:
    page = '<meta charset="iso-8859-1"><p>Käse</p>'.encode("latin-1")

    assert extract(page, "text/html").text.strip() == "Käse"


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (HANDBOOK, XLSX, "MEDIA_TYPE_MISMATCH"),
        (pptx_file(), XLSX, "MEDIA_TYPE_MISMATCH"),
        (xlsx(), PPTX, "MEDIA_TYPE_MISMATCH"),
        (xlsx(), EPUB, "MEDIA_TYPE_MISMATCH"),
        (xlsx(), "text/csv", "MEDIA_TYPE_MISMATCH"),
        (b"just words", "message/rfc822", "MEDIA_TYPE_MISMATCH"),
        (b"just words", "application/rtf", "MEDIA_TYPE_MISMATCH"),
        (b'{"a": ', "application/json", "DOCUMENT_BROKEN"),
        (b'{"a": 1}\nx', "application/jsonl", "DOCUMENT_BROKEN"),
        (b"[" * 100_000, "application/json", "DOCUMENT_TOO_COMPLEX"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "application/json", "DOCUMENT_TOO_COMPLEX"),
        (b"  ,\n,", "text/csv", "EMPTY_DOCUMENT"),
        (epub("<html></html>"), EPUB, "EMPTY_DOCUMENT"),
        ("Grüße".encode("cp1252"), "text/plain", "NOT_TEXT"),
        (b"\xff\xfe\x00", "text/plain", "NOT_TEXT"),
    ],
)
def test_what_is_no_whole_file_of_its_type_is_refused(content: bytes, media_type: str, reason: str) -> None:
    assert refusal(content, media_type) == reason


def test_slides_rows_and_chapters_are_bounded() -> None:
    assert refusal(pptx_file(), PPTX, ConversionLimits(pages=1)) == "DOCUMENT_TOO_COMPLEX"
    assert refusal(b"aaaa,bbbb\n" * 10, "text/csv", ConversionLimits(text_bytes=50)) == "DOCUMENT_TOO_COMPLEX"
    assert refusal(epub(), EPUB, ConversionLimits(pages=0)) == "DOCUMENT_TOO_COMPLEX"
