"""Which parts of a text in Markdown are code."""

import re
from collections.abc import Iterator

_FENCE = re.compile(r"[ \t]{0,12}(?:[-*>][ \t]{1,3}){0,4}(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")


def code_spans(text: str) -> list[tuple[int, int]]:
    """Return where code stands, in code points and in its order: fenced blocks (CommonMark 4.5) and code spans (6.1).

    A fence that is never closed lasts to the end.
    """
    spans, prose, opened, fence, at = list[tuple[int, int]](), 0, 0, "", 0
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if found and not fence and "`" not in line[found.end() :]:
            spans += _inline(text, prose, at)
            fence, opened = found[1], at
        elif found and fence and found[1].startswith(fence) and not line[found.end() :].strip():
            fence, prose = "", at + len(line)
            spans.append((opened, prose))
        at += len(line)
    return [*spans, (opened, at)] if fence else [*spans, *_inline(text, prose, at)]


def _inline(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the code spans: from a run of backticks to the next one as long."""
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(text, start, end)]
    later: dict[int, int] = {}
    closing: dict[int, int] = {}
    for at in range(len(runs) - 1, -1, -1):
        length = runs[at][1] - runs[at][0]
        if length in later:
            closing[at] = later[length]
        later[length] = at
    at = 0
    while at < len(runs):
        if at in closing:
            yield runs[at][0], runs[closing[at]][1]
            at = closing[at]
        at += 1
