"""Labelled lines, and how much of what they label is found."""

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

Found = tuple[int, int, str]
"""Where something is in a text, and its kind."""


@dataclass(frozen=True, slots=True)
class Line:
    """A text, and where identifiers are in it."""

    language: str
    text: str
    labels: frozenset[Found]


@dataclass(slots=True)
class Counts:
    """What was labelled, found and found wrongly, by kind; and the first lines that went wrong."""

    labelled: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    texts: int = 0

    def add(self, line: Line, found: AbstractSet[Found]) -> None:
        """Count a line by what was found in it."""
        self.texts += 1
        self.labelled.update(kind for _, _, kind in line.labels)
        self.right.update(kind for _, _, kind in line.labels & found)
        self.wrong.update(kind for _, _, kind in found - line.labels)
        self.missed.update((line.language, kind) for _, _, kind in line.labels - found)
        if found != line.labels:
            self.examples.append(f"{line.text!r} -> {sorted((line.text[a:b], kind) for a, b, kind in found)}")

    def recall(self, kind: str) -> float:
        """Return the share of the labelled ones that was found whole."""
        return self.right[kind] / self.labelled[kind]

    def precision(self, kind: str) -> float:
        """Return the share of what was found that was labelled."""
        return self.right[kind] / max(1, self.right[kind] + self.wrong[kind])
