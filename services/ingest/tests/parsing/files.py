"""Files of every format, made on the spot: whole ones, and what hostile or broken ones begin from."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage

import pptx
import xlsxwriter

OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = f"{OFFICE}wordprocessingml.document"
PPTX = f"{OFFICE}presentationml.presentation"
XLSX = f"{OFFICE}spreadsheetml.sheet"
EPUB = "application/epub+zip"
PDF = "application/pdf"
ZIP = "application/zip"
TAR = "application/x-tar"
TAR_GZ = "application/gzip"
MAIL = "message/rfc822"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_STYLES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles"


def pdf(*pages: Sequence[tuple[str, float]], extra: str = "", more: Sequence[str] = (), info: str = "") -> bytes:
    """Return a PDF whose pages have these lines of text, each with the size of its letters."""
    objects = [f"<</Type/Catalog/Pages 2 0 R{extra}>>"]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects += [f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>"]
    objects += ["<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"]
    for index, lines in enumerate(pages):
        height, shown = 780.0, list[str]()
        for text, size in lines:
            height -= 1.2 * size
            shown.append(f"BT /F1 {size} Tf 72 {height:.1f} Td ({text}) Tj ET" if text else "")
        stream = "\n".join(shown)
        page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * index} 0 R"
        objects += [
            f"{page}/Resources<</Font<</F1 3 0 R>>>>>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    objects += more
    if info:
        objects.append(info)
    return _file(objects, f"/Info {len(objects)} 0 R" if info else "")


def _file(objects: Sequence[str], trailer: str) -> bytes:
    out, places = io.BytesIO(), list[int]()
    out.write(b"%PDF-1.7\n")
    for number, each in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n{each}\nendobj\n".encode("latin-1"))
    start = out.tell()
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{rows}".encode())
    out.write(f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def zipped(parts: Mapping[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP container with these parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(parts: Mapping[str, str | bytes], *, mode: str = "w:gz", also: Sequence[tarfile.TarInfo] = ()) -> bytes:
    """Return a TAR archive with these files, and with these headers alone."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in parts.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in also:
            archive.addfile(info)
    return out.getvalue()


def office_parts(main: str, kind: str) -> dict[str, str | bytes]:
    """Return what every office document has, for one whose main part has this name and content type."""
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    return {
        "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{main}" ContentType="{kind}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="r1" Type="{_DOCUMENT}" Target="{main}"/></Relationships>',
    }


def docx_parts(body: str) -> dict[str, str | bytes]:
    """Return the parts of a Word document with this body."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name.replace(" ", "")}"><w:name w:val="{name}"/></w:style>'
        for name in ("heading 1", "heading 2", "Title")
    )
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return office_parts("word/document.xml", main) | {
        "word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f"<w:styles {_W}>{styles}</w:styles>",
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="r1" Type="{_STYLES}" Target="styles.xml"/></Relationships>',
    }


def docx(body: str) -> bytes:
    """Return a Word document with this body."""
    return zipped(docx_parts(body))


def paragraph(text: str, *, style: str = "", before: str = "") -> str:
    """Return a paragraph of a Word document."""
    named = f'<w:pPr><w:pStyle w:val="{style.replace(" ", "")}"/></w:pPr>' if style else ""
    return f"<w:p>{named}<w:r>{before}<w:t>{text}</w:t></w:r></w:p>"


def xlsx(*, hidden: bool = False, far: tuple[int, int] | None = None) -> bytes:
    """Return a workbook with the sheet Prices; with a hidden one, or a cell far from the others, if asked for."""
    rows: Sequence[Sequence[str | float]] = (("Part", "Price"), ("PX-1", 253.5))
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as workbook:
        sheet = workbook.add_worksheet("Prices")
        for number, row in enumerate(rows, start=2):
            sheet.write_row(number, 1, row)
        sheet.merge_range(len(rows) + 2, 1, len(rows) + 3, 1, "both")
        sheet.write_column(len(rows) + 2, 2, (5, 6))
        if far:
            sheet.write(*far, "far")
        if hidden:
            kept = workbook.add_worksheet("Salaries")
            kept.write(0, 0, "secret")
            kept.hide()
    return out.getvalue()


def pptx_file() -> bytes:
    """Return a presentation of two slides; the second has no text."""
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Quarter"
    frame = slide.placeholders[1].text_frame
    frame.text = "One"
    below = frame.add_paragraph()
    below.text, below.level = "Two", 1
    table = slide.shapes.add_table(2, 2, 0, 0, 100, 100).table
    table.cell(0, 0).text, table.cell(0, 1).text, table.cell(1, 0).text = "Region", "Days", "Nordics"
    slide.notes_slide.notes_text_frame.text = "Say this."
    show.slides.add_slide(show.slide_layouts[6])
    out = io.BytesIO()
    show.save(out)
    return out.getvalue()


def epub(
    page: str = "<html><head><title>Rules</title></head><body><h1>Rules</h1><p>No dogs.</p></body></html>",
) -> bytes:
    """Return a book of one chapter."""
    root = '<container xmlns="c"><rootfiles><rootfile full-path="OEBPS/c.opf"/></rootfiles></container>'
    items = '<manifest><item id="a" href="one%20a.xhtml"/></manifest><spine><itemref idref="a"/></spine>'
    package = f'<package xmlns="o" xmlns:dc="d"><metadata><dc:title>Book</dc:title></metadata>{items}</package>'
    return zipped({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": root,
        "OEBPS/c.opf": package,
        "OEBPS/one a.xhtml": page,
    })  # fmt: skip


def mail_with(attached: Mapping[str, bytes], *, text: str = "See attached.") -> bytes:
    """Return a mail with these files attached; one whose name ends in .eml is a mail of its own."""
    message = EmailMessage()
    message["From"], message["Subject"] = "ops@acme.example", "Files"
    message.set_content(text)
    for name, data in attached.items():
        if name.endswith(".eml"):
            message.add_attachment(message_from_bytes(data, policy=policy.default), filename=name)
        else:
            message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def mail(text: str = "The badge server is down.") -> bytes:
    """Return a mail with a page beside its text, and a PDF attached."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ops@acme.example", "all@acme.example", "Outage"
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    return message.as_bytes()
