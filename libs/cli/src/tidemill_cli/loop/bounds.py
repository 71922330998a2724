"""Limits of untrusted YAML (a loop, a run to import): size and nesting; and the files that a loop may refer to."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, NodeEvent, ScalarEvent
from ruamel.yaml.parser import RoundTripParser
from ruamel.yaml.scanner import Scanner

from tidemill_cli.loop.problems import Problem

MAX_CHARS = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Aliases count as expanded."""
_PLAIN_TAG = re.compile("(tag:yaml.org,2002:(map|seq|str|int|float|bool|null|timestamp|merge))?|!")
ROOTS = "TIDEMILL_LOOP_FILES"
"""Environment variable with further directories, separated by colons, that a loop may refer to."""


class OutOfBounds(Exception):
    """A file is larger than it may be, or has types of its own."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parsed(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Return a document with the positions of its nodes.

    Raises:
        OutOfBounds: it is too large, nested too deep or not of plain values; nothing was built of it.
        MarkedYAMLError: it is not YAML.

    """
    return parsed_with_scalars(text)[0]


def parsed_with_scalars(text: str) -> tuple[Any, list[ScalarEvent]]:
    """Return a document as `parsed` does, and its plain scalars, of a document that is read as YAML 1.2."""
    if len(text) > MAX_CHARS:
        raise OutOfBounds(_problem(None, f"has {len(text)} characters; the limit is {MAX_CHARS}: split the loop"))
    yaml = YAML(typ="rt")
    yaml.Scanner = Scanner  # the one of the round trip gathers comments, and nothing here writes them again
    scalars: list[ScalarEvent] = []
    yaml.Parser = partial(_BoundedParser, scalars=scalars)
    root = yaml.load(text)
    return root, [] if yaml.version == (1, 1) else scalars


class _BoundedParser(RoundTripParser):
    """Checks each event on its way: values are built, and aliases expanded, when all events have passed."""

    def __init__(self, loader: YAML, scalars: list[ScalarEvent]) -> None:
        super().__init__(loader)
        self._measure = _Measure()
        self._scalars = scalars

    def get_event(self) -> Event:
        event: Event = super().get_event()
        self._measure.add(event)
        if self._measure.nodes > MAX_NODES:
            message = f"has more than {MAX_NODES} values with aliases expanded, which is the limit: split the loop"
            raise OutOfBounds(_problem(event, message))
        if len(self._measure.open) > MAX_DEPTH:
            raise OutOfBounds(_problem(event, f"is nested deeper than {MAX_DEPTH}"))
        if not _PLAIN_TAG.fullmatch(tag := str(getattr(event, "tag", None) or "")):
            message = f"has the type {tag[:80]!r}: only plain YAML values are allowed"
            raise OutOfBounds(_problem(event, message))
        if isinstance(event, ScalarEvent) and event.implicit[0]:
            self._scalars.append(event)
        return event

    def move_token_comment(self, token: object, nt: object = None, empty: object = False) -> None:  # noqa: FBT002
        """Leave comments out."""


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
