"""A folder as a ferry line's office has it: PDF, Word, Excel, PowerPoint, a mail with an attachment, an archive.

`python files.py FOLDER` writes the files, and prints as JSON which documents they are to become, which of them are
broken or of a kind that is not read, and questions with the place that answers each. Everything in them is invented.
"""

import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path

import pptx
import xlsxwriter
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

Pages = Sequence[tuple[str, Sequence[str]]]
"""A heading, and lines of text, for each page."""
A4_IN = (8.27, 11.69)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

HANDBOOK: Pages = (
    (
        "Boarding",
        ("Gates close twenty minutes before departure.", "Foot passengers board by the stairs at pier C."),
    ),
    (
        "Pets",
        (
            "Dogs travel in the pet cabins on deck 5 and wear a muzzle in corridors.",
            "A dog may weigh up to 42 kilograms.",
        ),
    ),
    (
        "Luggage",
        ("Each passenger may take two pieces of luggage.", "Surfboards are stored behind the bar on deck 3."),
    ),
)
REPAIR: Pages = (
    (
        "Repair plan",
        ("The bow thruster of the Nordlys is replaced on 14 March.", "Until then she berths with a tug."),
    ),
)
LEAVE: Pages = (
    (
        "Leave of the crew",
        ("Deck crew have thirty-three days of leave a year.", "It is entered in the roster by the end of January."),
    ),
    (
        "Night watch",
        ("A night watch earns a supplement of 31 per cent.", "Two night watches are followed by a free day."),
    ),
)
DRILL: Pages = (("Boat drill", ("The boat drill takes place every second Tuesday at half past nine.",)),)
FARES: Sequence[Sequence[str | float]] = (
    ("Route", "Vehicle", "Fare in euro"),
    *(
        (route, vehicle, base + extra)
        for route, base in (("Larvik to Skagen", 88), ("Hirtshals to Bergen", 141), ("Kiel to Arendal", 119))
        for vehicle, extra in (("motorcycle", -31), ("car", 0), ("car with trailer", 46), ("motorhome", 73))
    ),
)
CREW: Sequence[Sequence[str | float]] = (("Ship", "Crew"), ("Nordlys", 64), ("Havgula", 41))
TIMETABLE = """ship,from,day,departure
Nordlys,Larvik,Friday,07:25
Nordlys,Larvik,Sunday,09:40
Havgula,Hirtshals,Friday,12:05
Havgula,Hirtshals,Sunday,16:50
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What someone asks, and where the answer is: a document's key, and the place that a citation names."""

    text: str
    key: str
    place: str


QUESTIONS = (
    Question("How heavy may a dog be that travels on deck 5?", "handbook.pdf", "page 2"),
    Question("What is the fare of a motorhome from Larvik to Skagen?", "fares.xlsx", "sheet Vehicles, row 5"),
    Question("How large is the supplement for a night watch?", "crew/leave.docx", "page 2"),
    Question("Which ship is out of service in November?", "season.pptx", "slide 2"),
    Question("When is the bow thruster of the Nordlys replaced?", "mail/nordlys.eml!/repair-plan.pdf", "page 1"),
    Question("When does the Havgula leave Hirtshals on Sunday?", "archive/2026.zip!/timetable.csv", "row 5"),
)


def pdf(pages: Pages) -> bytes:
    """Return a PDF with these pages."""
    out = io.BytesIO()
    with PdfPages(out) as file:
        for heading, lines in pages:
            page = Figure(figsize=A4_IN)
            page.text(0.12, 0.9, heading, fontsize=20)
            for number, line in enumerate(lines):
                page.text(0.12, 0.84 - 0.03 * number, line, fontsize=11)
            file.savefig(page)
    return out.getvalue()


def docx(pages: Pages) -> bytes:
    """Return a Word document with these pages; Word notes where it broke them last."""
    body = "".join(
        _paragraph(heading, style="heading1", first=number > 0) + "".join(map(_paragraph, lines))
        for number, (heading, lines) in enumerate(pages)
    )
    main, styles = "word/document.xml", "word/styles.xml"
    types = (("document.main", main), ("styles", styles))
    kinds = "".join(
        f'<Override PartName="/{name}" '
        f'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.{kind}+xml"/>'
        for kind, name in types
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f"{kinds}</Types>",
        "_rels/.rels": _relation("officeDocument", main),
        "word/_rels/document.xml.rels": _relation("styles", "styles.xml"),
        main: f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
        styles: f'<w:styles xmlns:w="{WORD}"><w:style w:type="paragraph" w:styleId="heading1">'
        '<w:name w:val="heading 1"/></w:style></w:styles>',
    }
    return zipped(parts)


def _paragraph(text: str, *, style: str = "", first: bool = False) -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    broken = "<w:lastRenderedPageBreak/>" if first else ""
    return f"<w:p>{named}<w:r>{broken}<w:t>{text}</w:t></w:r></w:p>"


def _relation(kind: str, target: str) -> str:
    named = f'<Relationship Id="r1" Type="{OFFICE}/{kind}" Target="{target}"/>'
    return f'<Relationships xmlns="{PACKAGE}/relationships">{named}</Relationships>'


def xlsx(**sheets: Sequence[Sequence[str | float]]) -> bytes:
    """Return a workbook with these sheets."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as workbook:
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return out.getvalue()


def slides(*shown: tuple[str, str]) -> bytes:
    """Return a presentation; each slide has a title and a line."""
    show, out = pptx.Presentation(), io.BytesIO()
    for title, line in shown:
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text_frame.text = title, line
    show.save(out)
    return out.getvalue()


def mail(subject: str, text: str, name: str, attached: bytes) -> bytes:
    """Return a mail with a PDF attached."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "yard@fjord.example", "deck@fjord.example", subject
    message.set_content(text)
    message.add_attachment(attached, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def files() -> dict[str, bytes]:
    """Return the content of each file by its path in the folder."""
    season = (
        (
            "Season",
            "From April to October both ships sail daily, in July twice; the first one leaves at half past seven.",
        ),
        (
            "Winter",
            "In November the Havgula is docked. The Nordlys sails on Fridays and Sundays, and the kiosk is closed.",
        ),
    )
    return {
        "handbook.pdf": pdf(HANDBOOK),
        "fares.xlsx": xlsx(Vehicles=FARES, Ships=CREW),
        "crew/leave.docx": docx(LEAVE),
        "season.pptx": slides(*season),
        "mail/nordlys.eml": mail("Nordlys", "The plan of the repair is attached.", "repair-plan.pdf", pdf(REPAIR)),
        "archive/2026.zip": zipped({"timetable.csv": TIMETABLE, "safety/drill.docx": docx(DRILL)}),
        "drafts/menu.docx": docx(LEAVE)[:900],  # as a copy that was interrupted
        "drafts/prices.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
    }


REFUSED, SKIPPED = ("drafts/menu.docx",), ("drafts/prices.xls",)
INSIDE = (
    "mail/nordlys.eml!/repair-plan.pdf",
    "archive/2026.zip!/timetable.csv",
    "archive/2026.zip!/safety/drill.docx",
)


def main() -> None:
    """Write the folder."""
    folder, made = Path(sys.argv[1]), files()
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    documents = [name for name in made if name not in {*REFUSED, *SKIPPED}]
    facts = {
        "documents": [*documents, *INSIDE],
        "refused": REFUSED,
        "skipped": SKIPPED,
        "questions": [asdict(question) for question in QUESTIONS],
    }
    print(json.dumps(facts))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
