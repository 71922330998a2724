"""Presentations become Markdown: a section for each slide, with its text, tables and notes."""

import io
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pptx

from tidemill_ingest.anchors import AnchorKind
from tidemill_ingest.limits import ConversionLimits
from tidemill_ingest.parsing import refusals
from tidemill_ingest.parsing.converted import Converted, Places, unmarked
from tidemill_ingest.parsing.office import opened_office, steps_of, title_of
from tidemill_ingest.parsing.rows import tables

_STEP = f"convert pptx python-pptx {version('python-pptx')}"
_MAX_GROUPS = 20


def convert(content: bytes, media_type: str, limits: ConversionLimits) -> Converted:  # noqa: ARG001 - one port for all
    """Return the text of a presentation, with an anchor for each slide; pictures, charts and films are not read.

    Raises:
        DocumentRefused: it is none, damaged, encrypted, or not within the limits.

    """
    container, _ = opened_office(content, limits, program="powerpoint")
    for name in container.names:
        if name.startswith(("ppt/slides/", "ppt/notesSlides/")) and name.endswith(".xml"):
            container.xml(name)
    places = Places()
    slides = _slides(content, limits)
    parts = [_slide(slide, number, places, limits) for number, slide in enumerate(slides, start=1)]
    steps = (_STEP, *steps_of(container))
    text = "\n\n".join(part for part in parts if part)
    return Converted(text=text, title=title_of(container), places=places.found, steps=steps)


def _slides(content: bytes, limits: ConversionLimits) -> list[Any]:
    slides = list(pptx.Presentation(io.BytesIO(content)).slides)
    if len(slides) > limits.pages:
        raise refusals.too_complex(what=f"has {len(slides)} slides, and {limits.pages} is the limit: split it")
    return slides


def _slide(slide: Any, number: int, places: Places, limits: ConversionLimits) -> str:  # noqa: ANN401 - has no types
    title = slide.shapes.title
    named = _line(title.text_frame.text) if title is not None and title.has_text_frame else ""
    body = [part for shape in _shapes(slide.shapes, 0) if (part := _shape(shape, title, limits))]
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    spoken = unmarked(notes.text).strip() if notes is not None else ""
    if not (named or body or spoken):
        return ""
    mark = places.mark(AnchorKind.SLIDE, number, named)
    heading = f"## {named}" if named else f"## Slide {number}"
    return mark + "\n\n".join([heading, *body, *([f"Notes: {spoken}"] if spoken else [])])


def _shapes(shapes: Any, depth: int) -> Iterator[Any]:  # noqa: ANN401 - has no types
    if depth > _MAX_GROUPS:
        raise refusals.too_complex(what=f"has groups that are nested deeper than {_MAX_GROUPS}: ungroup them")
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _shape(shape: Any, title: Any, limits: ConversionLimits) -> str:  # noqa: ANN401 - has no types
    if title is not None and shape.shape_id == title.shape_id:
        return ""
    if getattr(shape, "has_table", False):
        rows = [(number, [cell.text for cell in row.cells]) for number, row in enumerate(shape.table.rows, start=1)]
        return tables(rows, Places(), every=len(rows) + 1, kind=AnchorKind.ROW, limits=limits)
    if not shape.has_text_frame:
        return ""
    lines = [("  " * each.level, _line(each.text)) for each in shape.text_frame.paragraphs]
    shown = [(indent, text) for indent, text in lines if text]
    if len(shown) == 1:
        return shown[0][1]
    return "\n".join(f"{indent}- {text}" for indent, text in shown)


def _line(text: str) -> str:
    return " ".join(unmarked(text).split())
