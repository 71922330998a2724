"""What measurements hand on to the table of bars (`python infra/bars.py --speed`), beside what they print."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "TIDEMILL_BENCH_FIGURES"
"""The variable that names the file of figures; without it nothing is handed on."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `name` is that of a bar in `_bars`."""

    name: str
    measured: float
    unit: str


def report(name: str, measured: float, unit: str) -> None:
    """Hand on a figure."""
    if file := os.environ.get(FILE):
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(Figure(name, measured, unit))) + "\n")


def figures_in(file: Path) -> dict[str, Figure]:
    """Return the figures by name; of two with one name, the later one."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {figure.name: figure for figure in (Figure(**json.loads(line)) for line in lines)}
