"""What Hugo, Jekyll, Docusaurus and Obsidian write above a page: facts about it, and not its text."""

import json
import re

_WITHIN = 32_768
_OPENED = re.compile(r"(---|\+\+\+)[ \t]*\n")
_ENTRY = re.compile(r"""(?:["']?[$@]?[^\W\d][\w .$@/-]{0,100}["']?|<<)[ \t]*[:=](?:[ \t]|\n|\Z)""")
_FURTHER = re.compile(r"[ \t]|-(?:[ \t]|\Z)|#|\[|[\]}]|\Z")
_TITLE = re.compile(r"""(?im)^["']?title["']?[ \t]*[:=][ \t]*(.*(?:\n[ \t]+.+)*)""")
_BLOCK = re.compile(r"[|>][+-]?[ \t]*\n")
_COMMENT = re.compile(r"[ \t]#.*\Z")
_LINES = re.compile(r"""(?s)(\"{3}|'{3}).*?\1""")
"""A string of TOML on several lines."""
_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_DOUBLE = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = re.compile(r"\\(.)")


def split(text: str) -> tuple[str, str]:
    """Return the title that a Markdown text's front matter names, and the text below it.

    Front matter is YAML between lines of three dashes, or TOML between lines of three plus signs, at the very start. A
    text that begins with a rule is none: what is between has to consist of entries.
    """
    opened = _OPENED.match(text)
    if opened is None:
        return "", text
    end = _end(text, opened.end(), ("---", "...") if opened[1] == "---" else ("+++",))
    if end is None:
        return "", text
    inner, below = text[opened.end() : end[0]], text[end[1] :].lstrip("\n")
    if not _entries(_LINES.sub('""', inner).split("\n")):
        return "", text
    title = _TITLE.search(inner)
    return _plain(title[1]) if title else "", below


def _end(text: str, start: int, marks: tuple[str, ...]) -> tuple[int, int] | None:
    place = start
    while place < min(len(text), _WITHIN):
        line_end = text.find("\n", place)
        line_end = len(text) if line_end < 0 else line_end
        if text[place:line_end].rstrip() in marks:
            return place, min(line_end + 1, len(text))
        place = line_end + 1
    return None


def _entries(lines: list[str]) -> bool:
    entries = [line for line in lines if _ENTRY.match(line)]
    return bool(entries) and all(_ENTRY.match(line) or _FURTHER.match(line) for line in lines)


def _plain(value: str) -> str:
    value = _BLOCK.sub("", value) if _BLOCK.match(value) else value
    value = " ".join(value.split())
    if quoted := _SINGLE.match(value):
        return quoted[1].replace("''", "'")
    if quoted := _DOUBLE.match(value):
        return _unescaped(quoted[0])
    return _COMMENT.sub("", value)


def _unescaped(quoted: str) -> str:
    try:
        return str(json.loads(quoted)).encode(errors="replace").decode()  # half a character is none
    except ValueError:  # YAML and TOML know escapes that JSON does not
        return _ESCAPED.sub(r"\1", quoted[1:-1])
