"""Checks who may import whom: the rules of the repository, and those in the pyproject.toml of each service and library.

`python infra/imports.py` checks all of them, `python infra/imports.py services/rag` those of one.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINTER = Path(sys.executable).parent / "lint-imports"


def main(parts: list[str]) -> int:
    """Print the broken rules and return the exit code."""
    files = [ROOT / part / "pyproject.toml" for part in parts] or [
        ROOT / "pyproject.toml",
        *sorted([*ROOT.glob("*/*/pyproject.toml"), *ROOT.glob("examples/*/*/pyproject.toml")]),
    ]
    return max([check(file) for file in files if has_rules(file)], default=0)


def has_rules(file: Path) -> bool:
    """Return whether import-linter has rules in this file."""
    return "importlinter" in tomllib.loads(file.read_text()).get("tool", {})


def check(file: Path) -> int:
    """Check the rules of one file; what holds prints nothing."""
    command = [str(LINTER), "--no-cache", "--config", str(file)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our linter
    if ended.returncode:
        print(f"{file.relative_to(ROOT)}:\n{ended.stdout}{ended.stderr}")  # noqa: T201 - a command prints
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
