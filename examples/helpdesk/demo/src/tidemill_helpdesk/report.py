"""The demo's measurements, as report.json and as a table."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from tidemill_cli.output import table


@dataclass(slots=True)
class Report:
    """Figures by section and name, and the duration of each step."""

    project: str
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, section: str, **figures: object) -> None:
        """Record figures of a section."""
        self.figures.setdefault(section, {}).update(figures)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step; durations of a continued step add up."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)

    def data(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {"project": self.project, **self.figures, "seconds": self.seconds}

    def write(self, folder: Path) -> Path:
        """Write report.json into a folder and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.json"
        path.write_text(json.dumps(self.data(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def picture(self) -> Table:
        """Return the figures as a table, without nested ones."""
        rows = [
            (section, name, _spell(value))
            for section, values in self.figures.items()
            for name, value in values.items()
            if not isinstance(value, dict)
        ]
        rows += [("seconds", name, f"{value:.1f}") for name, value in self.seconds.items()]
        return table(("", "figure", "value"), rows, title="Measurements")


def _spell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
