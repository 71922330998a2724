import pytest

from services.ingest.tests.parsing.files import PDF, pdf
from tidemill_ingest.anchors import Anchor, AnchorKind
from tidemill_ingest.errors import DocumentRefused
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing.text import extract

HANDBOOK = pdf(
    [("Staff handbook", 24), ("", 12), ("Leave", 16), ("Parental leave is fourteen weeks", 11), ("at full pay.", 11)],
    [("Parking", 16), ("# 12 of the permits are for visitors.", 11), ("", 30), ("Ask the front desk.", 11)],
    extra="/PageLabels<</Nums[0<</S/r>>1<</S/D>>]>>",
)


def page(start: int, number: int, name: str = "") -> Anchor:
    return Anchor(start=start, kind=AnchorKind.PAGE, number=number, name=name)


def refusal(content: bytes, media_type: str = PDF, limits: ConversionLimits | None = None) -> str:
    with pytest.raises(DocumentRefused) as refused:
        extract(content, media_type, limits)
    return refused.value.reason


def test_larger_letters_are_headings_and_what_stands_apart_is_a_paragraph() -> None:
    extracted = extract(HANDBOOK, PDF)

    assert extracted.text == (
        "# Staff handbook\n\n## Leave\n\nParental leave is fourteen weeks\nat full pay.\n\n"
        "## Parking\n\n\\# 12 of the permits are for visitors.\n\nAsk the front desk."
    )
    assert (extracted.title, extracted.media_type) == ("Staff handbook", "text/markdown")
    assert extracted.steps[0].startswith("convert pdf pypdfium2")


def test_each_page_has_an_anchor_with_the_number_that_is_printed_on_it() -> None:
    extracted = extract(HANDBOOK, PDF)

    assert extracted.anchors == (page(0, 1, "i"), page(extracted.text.index("## Parking"), 2, "1"))


def test_headings_are_those_of_the_outline_where_there_is_one() -> None:
    outline = ("<</First 7 0 R/Last 7 0 R/Count 1>>", "<</Title(Leave rules)/Parent 6 0 R/Dest[4 0 R/Fit]>>")
    lines = [("Large but no heading", 30), ("Leave  Rules", 11), ("Fourteen weeks.", 11)]
    extracted = extract(pdf(lines, extra="/Outlines 6 0 R", more=outline), PDF)

    assert extracted.text == "Large but no heading\n\n# Leave Rules\n\nFourteen weeks."


def test_a_page_without_text_has_no_anchor_and_the_others_keep_their_numbers() -> None:
    extracted = extract(pdf([("One", 11)], [], [("Three", 11)]), PDF)

    assert extracted.text == "One\n\nThree"
    assert extracted.anchors == (page(0, 1), page(5, 3))
    assert "1 of 3 pages without text" in extracted.steps


def test_the_title_is_the_files_own_unless_a_program_made_it_up() -> None:
    lines = [("Small", 11), ("Large", 20)]

    assert extract(pdf(lines, info="<</Title(Travel policy)>>"), PDF).title == "Travel policy"
    assert extract(pdf(lines, info="<</Title(Microsoft Word - x.docx)>>"), PDF).title == "Large"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 not a PDF", "MEDIA_TYPE_MISMATCH"),
        (b"just words", "MEDIA_TYPE_MISMATCH"),
        (b"%PDF-1.7\nnothing more", "DOCUMENT_BROKEN"),
        (HANDBOOK[: len(HANDBOOK) // 8], "DOCUMENT_BROKEN"),
        (pdf([], []), "NO_TEXT_LAYER"),
    ],
)
def test_what_is_no_whole_pdf_with_text_is_refused(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


def test_an_encrypted_pdf_is_refused_as_such() -> None:
    key = "<</Filter/Standard/V 2/R 3/Length 128/P -44/O<" + "00" * 32 + ">/U<" + "11" * 32 + ">>>"
    content = pdf([("Secret", 11)]).replace(b"trailer\n<<", f"trailer\n<</ID[<00><00>]/Encrypt {key}".encode())

    assert refusal(content) == "DOCUMENT_ENCRYPTED"


def test_pages_and_text_are_bounded() -> None:
    three = pdf(*[[("Some words", 11)]] * 3)

    assert len(extract(three, PDF, ConversionLimits(pages=3)).anchors) == 3
    assert refusal(three, limits=ConversionLimits(pages=2)) == "DOCUMENT_TOO_COMPLEX"
    assert refusal(three, limits=ConversionLimits(text_bytes=20)) == "DOCUMENT_TOO_COMPLEX"


def test_a_pdf_that_says_to_be_text_is_refused() -> None:
    assert refusal(HANDBOOK, "text/plain") == "MEDIA_TYPE_MISMATCH"
