"""Limits of an untrusted loop.yaml: size, nesting, and the files that it may refer to."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, NodeEvent

from tidemill_cli.loop.problems import Problem

MAX_CHARS = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Aliases count as expanded."""
_PLAIN_TAG = re.compile("(tag:yaml.org,2002:(map|seq|str|int|float|bool|null|timestamp|merge))?|!")
ROOTS = "TIDEMILL_LOOP_FILES"
"""Environment variable with further directories, separated by colons, that a loop may refer to."""


def too_large(text: str) -> Problem | None:
    """Check size, nesting and types from the parser's events, without building the document.

    Raises:
        MarkedYAMLError: it is not YAML.

    """
    if len(text) > MAX_CHARS:
        return _problem(None, f"has {len(text)} characters; the limit is {MAX_CHARS}: split the loop")
    measure = _Measure()
    for event in YAML(typ="safe", pure=True).parse(text):
        measure.add(event)
        if measure.nodes > MAX_NODES:
            return _problem(
                event, f"has more than {MAX_NODES} values with aliases expanded, which is the limit: split the loop"
            )
        if len(measure.open) > MAX_DEPTH:
            return _problem(event, f"is nested deeper than {MAX_DEPTH}")
        if not _PLAIN_TAG.fullmatch(tag := str(getattr(event, "tag", None) or "")):
            return _problem(event, f"has the type {tag[:80]!r}: only plain YAML values are allowed")
    return None


@dataclass(slots=True)
class _Measure:
    """Number of values, with aliases expanded."""

    nodes: int = 0
    open: list[str] = field(default_factory=list)
    """Anchors of the enclosing collections; "" for those without one."""
    sizes: Counter[str] = field(default_factory=Counter)

    def add(self, event: Event) -> None:
        if isinstance(event, CollectionEndEvent):
            self.open.pop()
        if not isinstance(event, NodeEvent):
            return
        anchor = event.anchor or ""
        if not isinstance(event, AliasEvent):
            self.sizes[anchor] = 0
            self._count({*self.open, anchor}, 1)
        elif anchor in self.open:  # it stands inside of what it repeats
            self.nodes += MAX_NODES
        else:
            self._count(set(self.open), self.sizes[anchor])
        if isinstance(event, CollectionStartEvent):
            self.open.append(anchor)

    def _count(self, anchors: set[str], nodes: int) -> None:
        self.nodes += nodes
        for anchor in anchors:
            self.sizes[anchor] += nodes


def is_near(loop: Path, name: str) -> bool:
    """Return whether a file is inside the loop's repository, its directory, or a directory of `ROOTS`."""
    folder = loop.parent.resolve()
    repository = next((each for each in (folder, *folder.parents) if _is_root(each)), folder)
    further = [Path(each).resolve() for each in os.environ.get(ROOTS, "").split(":") if each]
    target = (folder / name).resolve()
    return any(target.is_relative_to(each) for each in (repository, *further))


def outside(name: str) -> str:
    """Return the error message for a file elsewhere."""
    return f"{name!r} is outside the loop's repository or directory: move it, or add its directory to {ROOTS}"


def _is_root(folder: Path) -> bool:
    return (folder / ".git").exists() or (folder / ".tidemill").is_dir()


def _problem(event: Event | None, message: str) -> Problem:
    mark = event.start_mark if event else None
    line, column = (mark.line, mark.column) if mark else (0, 0)
    return Problem(line=line + 1, column=column + 1, path="(yaml)", message=message)
