"""What is wrong with a loop's file, and where."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from tidemill_kit.core.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing that is wrong; `line` and `column` count from 1, as editors do.

    `file` is another one than the loop's where that holds the mistake, for example a suite's cases.
    """

    file: str = ""
    line: int
    column: int
    path: str
    message: str


class LoopErrors(InvalidInput):
    """Everything that is wrong with one file."""

    reason = "LOOP_INVALID"

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems))
        super().__init__(
            "\n".join(f"{p.file or file}:{p.line}:{p.column}: {p.path}: {p.message}" for p in self.problems),
            violations=[Violation(field=p.path, description=p.message) for p in self.problems],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file that knows where each of its parts stands."""

    file: Path
    root: Any

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """Return what is wrong with the part at a path, or with the nearest part around it that is in the file."""
        line, column = self._position(path)
        return Problem(line=line + 1, column=column + 1, path=spell(path), message=message)

    def _position(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Return where the path stands, or its nearest ancestor that is in the file."""
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
    """Return a path as people write it: gates.helpdesk.require[0].metric."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".") or "(file)"


def nearest(word: str, allowed: Sequence[str]) -> str:
    """Return what may have been meant, and what there is."""
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"{hint} (there are: {', '.join(allowed)})" if allowed else hint


def matching(node: object, pattern: Sequence[str]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield every path that fits the pattern, with its value; `*` is any key or index."""
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
