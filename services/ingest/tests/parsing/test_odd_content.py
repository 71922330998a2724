"""What files of any format may hold that is odd, and is read all the same."""

from services.ingest.tests.parsing.files import DOCX, XLSX, docx, paragraph, xlsx
from services.ingest.tests.parsing.test_docx import BREAK
from services.ingest.tests.parsing.test_pdf import refusal
from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.documents.preparation import masked_name
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.masking.kinds import DEFAULT_PHONE_REGIONS, Masking
from tidemill_ingest.masking.stage import MaskingStage
from tidemill_ingest.parsing.converted import Places
from tidemill_ingest.parsing.rows import tables
from tidemill_ingest.parsing.text import extract


def test_halves_of_characters_are_joined_and_a_half_alone_is_none() -> None:
    assert extract(rb"{\rtf1 Hi \u-10179?\u-8704?}", "application/rtf").text == "Hi \U0001f600"
    assert extract(b'{"a": "b\\ud83d"}', "application/json").text == "- a: b\ufffd"


def test_lines_of_json_end_where_lines_do_and_numbers_stay_as_they_are_written() -> None:
    lines = '{"a": "x\u2028y", "b": 1.10}\r\n{"a": null, "b": null}\n{"a": "z", "b": 1e999}\n'

    text = extract(lines.encode(), "application/jsonl").text

    assert text == "| a | b |\n| --- | --- |\n| x y | 1.10 |\n| z | 1e999 |"


def test_rows_in_blocks_have_no_more_anchors_than_others() -> None:
    rows = [row for number in range(1, 201, 2) for row in ((number, ["x"]), (number + 1, [""]))]
    places = Places()

    tables(rows, places, every=10, kind=AnchorKind.ROW, limits=ConversionLimits())

    assert len(places.found) <= 20


def test_a_long_header_ends_between_two_words() -> None:
    receivers = ", ".join(f"person.{number:03}@acme.example" for number in range(100))
    mail = f"From: a@acme.example\nTo: {receivers}\nSubject: s\n\nHello.\n"

    (shown,) = (line for line in extract(mail.encode(), "message/rfc822").text.splitlines() if line[:3] == "To:")

    assert len(shown) > 1900
    assert shown.rstrip().endswith("@acme.example,")


def test_a_mail_in_a_charset_that_python_does_not_know_is_read() -> None:
    mail = "From: a@acme.example\nSubject: s\nContent-Type: text/plain; charset=x-unknown\n\nDas W\u00fcrstchen.\n"

    assert extract(mail.encode(), "message/rfc822").text.endswith("Das W\u00fcrstchen.")


def test_a_name_of_a_place_is_cut_behind_the_masking() -> None:
    stage = MaskingStage(Masking(), DEFAULT_PHONE_REGIONS)

    name = masked_name(stage, "x" * 180 + " jane.doe@mail.acme.example")

    assert len(name) <= 200
    assert "jane" not in name


def test_a_mark_that_a_file_forges_is_no_place() -> None:
    forged = docx(paragraph("One") + paragraph(f"a&#xFDD5;{'1' * 5000}&#xFDD6;b", before=BREAK))

    assert [each.number for each in extract(forged, DOCX).anchors] == [1, 2]


def test_a_sheet_in_an_unusual_place_is_checked_too() -> None:
    moved = xlsx(far=(1_000_000, 9)).replace(b"xl/worksheets/sheet1.xml", b"xl/worksheet/sheet11.xml")

    assert refusal(moved, XLSX) == "DOCUMENT_TOO_COMPLEX"
