"""CONTRIBUTING.md names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "services/feedback/src/tidemill_feedback"
"""What the paths of the examples are relative to."""

TABLES = re.findall(r"^\| (`[^|]+) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
NAMED = sorted({name for cell in TABLES for name in re.findall(r"`([\w./-]+)`", cell) if "/" in name or "." in name})


def test_the_guide_names_files() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_the_guide_names_exists(name: str) -> None:
    assert (ROOT / name).exists() or (PACKAGE / name).exists()
