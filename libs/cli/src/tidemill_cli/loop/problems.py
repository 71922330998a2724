"""Validation problems of a loop file, with their locations."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from tidemill_core.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One problem; `line` and `column` are 1-based.

    `file` is set if the problem is in another file than the loop's, for example a suite's cases.
    """

    file: str = ""
    line: int
    column: int
    path: str
    message: str


class LoopErrors(InvalidInput):
    """All problems of a loop file."""

    reason = "LOOP_INVALID"

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems))
        super().__init__(
            "\n".join(f"{p.file or file}:{p.line}:{p.column}: {p.path}: {p.message}" for p in self.problems),
            violations=[Violation(p.path, p.message) for p in self.problems],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file with the positions of its nodes."""

    file: Path
    root: Any

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """Return a problem at a path, or at its nearest ancestor in the file."""
        line, column = self._position(path)
        return Problem(line=line + 1, column=column + 1, path=spell(path), message=message)

    def _position(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Return the position of a path, or of its nearest ancestor in the file."""
        node, position = self.root, (0, 0)
        for step in path:
            if isinstance(node, CommentedMap) and step in node:
                position = node.lc.key(step)
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                position = node.lc.item(step)
            else:
                break
            node = node[step]
        return position


def spell(path: Sequence[str | int]) -> str:
    """Return a path as text: gates.helpdesk.require[0].metric."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".") or "(file)"


def nearest(word: str, allowed: Sequence[str]) -> str:
    """Return a hint with the closest match and the allowed words."""
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"{hint} (there are: {', '.join(allowed)})" if allowed else hint


def matching(node: object, pattern: Sequence[str]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield every path that matches the pattern, with its value; `*` matches any key or index."""
    if not pattern:
        yield (), node
        return
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    for step, child in items:
        if pattern[0] in {"*", step}:
            for path, value in matching(child, pattern[1:]):
                yield (step, *path), value
