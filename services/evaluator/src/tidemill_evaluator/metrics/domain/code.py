"""The code in an answer, and what it may take."""

from dataclasses import dataclass

_FENCES = ("```", "~~~")
_PYTHON = frozenset({"python", "python3", "py"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeLimits:
    """What a program may take."""

    cpu_s: int = 5
    memory_bytes: int = 512 * 1024 * 1024


def code_in(text: str) -> str:
    """Return the Python of an answer: its fenced blocks of Python, else those of no language, else all of it."""
    blocks = list[tuple[str, str]]()
    fence, language, lines = "", "", list[str]()
    for line in text.split("\n"):
        stripped = line.strip()
        if not fence and stripped.startswith(_FENCES):
            fence = stripped[:3]
            language, lines = stripped.strip("`~ ").partition(" ")[0].lower(), []
        elif fence and stripped.startswith(fence) and not stripped.strip("`~"):
            blocks.append((language, "\n".join(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:  # of an answer that was cut
        blocks.append((language, "\n".join(lines)))
    if not blocks:
        return text
    python = [block for language, block in blocks if language in _PYTHON]
    return "\n".join(python or [block for language, block in blocks if not language])
