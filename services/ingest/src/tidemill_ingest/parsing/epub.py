"""Books (EPUB) become Markdown: their chapters in reading order, each by way of HTML."""

import posixpath
from urllib.parse import unquote

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.containers import Container, opened
from tidemill_ingest.parsing.converted import Converted, Places, unmarked
from tidemill_ingest.parsing.html import EXTRACTION, markdown_of, title_of
from tidemill_ingest.parsing.office import parsed
from tidemill_ingest.parsing.plain import decoded

_ROOT = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = (".xhtml", ".html", ".htm")
_EXPECTED = "an EPUB"


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a book, with an anchor for each of its chapters.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, or not within the limits.

    """
    container = opened(content, limits, expected=_EXPECTED)
    if _ROOT not in container.names:
        raise refusals.mismatch(found="a ZIP archive", expected=_EXPECTED)
    if _ENCRYPTION in container.names and any(
        (each.get("URI") or "").lower().endswith(_PAGES) for each in parsed(container, _ENCRYPTION).iter()
    ):
        raise refusals.encrypted()
    title, chapters = _spine(container)
    if len(chapters) > limits.pages:
        text = f"has {len(chapters)} chapters, and {limits.pages} is the limit: split it"
        raise refusals.too_complex(what=text)
    places, parts, length = Places(), list[str](), 0
    for number, name in enumerate(chapters, start=1):
        page, _ = decoded(container.read(name))
        page = unmarked(page)
        text = markdown_of(page).strip()
        length += len(text)
        if length > limits.text_bytes:
            raise refusals.too_complex(what=f"has more than {limits.text_bytes} characters: split it")
        if text:
            parts.append(places.mark(AnchorKind.CHAPTER, number, title_of(page)) + text)
    return Converted(text="\n\n".join(parts), title=title, places=places.found, steps=("convert epub", EXTRACTION))


def _spine(container: Container) -> tuple[str, list[str]]:
    """Return the title, and the files of the chapters in order (EPUB 3.3, section 5)."""
    roots = [each.get("full-path", "") for each in parsed(container, _ROOT).iter() if _local(each.tag) == "rootfile"]
    if not roots:
        raise refusals.broken(what="names no package document")
    package = parsed(container, roots[0])
    folder = posixpath.dirname(roots[0])
    files, order, title = dict[str, str](), list[str](), ""
    for each in package.iter():
        match _local(each.tag):
            case "item":
                path = unquote(each.get("href", ""))
                files[each.get("id", "")] = posixpath.normpath(posixpath.join(folder, path))
            case "itemref":
                order.append(each.get("idref", ""))
            case "title":
                title = title or unmarked(each.text or "")
    return title, [files[name] for name in order if name in files]


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
