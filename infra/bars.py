"""Prints how the code stands against the bars of its structure, and fails when one is missed.

`python infra/bars.py` reads the tracked files; `--since REF` compares the size of the source with that of an earlier
commit, `--stack` adds the memory of the running stack, `--json` prints all of it for programs. The bars of speed are
printed by `make bench`.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE, MAX_FUNCTION, MAX_APP = 400, 60, 150
SDK = "tidemill"
SERVER_LIBRARIES = frozenset(
    {
        "aiokafka",
        "faststream",
        "matplotlib",
        "minio",
        "motor",
        "prometheus-client",
        "psutil",
        "pydantic-settings",
        "pymongo",
        "qdrant-client",
        "rich",
        "structlog",
        "torch",
        "transformers",
        "typer",
    }
)
"""Distributions that programs which only call Tidemill do not install."""
GENERATED = ("libs/contracts/",)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what was measured, what it may be at most, and where it is exceeded."""

    name: str
    value: float
    limit: float | None = None
    places: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the measured value is within the limit."""
        return self.limit is None or self.value <= self.limit


def main() -> int:
    """Print the bars and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", metavar="REF", help="compare the size of the source with that of this commit")
    parser.add_argument("--stack", action="store_true", help="measure the memory of the running stack")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    files = {path: (ROOT / path).read_text() for path in _python_files()}
    bars = [*structure(files), sdk()]
    if chosen.since:
        bars.append(growth(files, chosen.since))
    if chosen.stack:
        bars.append(memory())
    if chosen.json:
        print(json.dumps([asdict(bar) | {"holds": bar.holds} for bar in bars], indent=2))  # noqa: T201 - a command prints
    else:
        for bar in bars:
            limit = "" if bar.limit is None else f"at most {bar.limit:g}"
            print(f"{bar.name:52} {bar.value:>9g}  {limit:14} {'' if bar.holds else 'MISSED'}")  # noqa: T201 - a command prints
            for place in bar.places:
                print(f"    {place}")  # noqa: T201 - a command prints
    return 0 if all(bar.holds for bar in bars) else 1


def structure(files: dict[str, str]) -> Iterator[Bar]:
    """Measure files, functions and composition roots."""
    lines = {path: text.count("\n") for path, text in files.items()}
    yield _longest("lines of the longest file", lines, MAX_FILE)
    yield _longest("lines of the longest function", dict(_functions(files)), MAX_FUNCTION)
    apps = {path: count for path, count in lines.items() if path.startswith("services/") and path.endswith("/app.py")}
    yield _longest("lines of the longest app.py of a service", apps, MAX_APP)
    source: Counter[str] = Counter()
    for path, count in lines.items():
        if _is_source(path):
            source["/".join(path.split("/")[:2])] += count
    for part, count in sorted(source.items()):
        yield Bar(f"lines of source: {part}", count)


def growth(files: dict[str, str], ref: str) -> Bar:
    """Compare the lines of source with those of an earlier commit, in percent."""
    listed = _git("ls-tree", "-r", "--name-only", ref).splitlines()
    before = sum(_git("show", f"{ref}:{path}").count("\n") for path in listed if _is_source(path))
    now = sum(text.count("\n") for path, text in files.items() if _is_source(path))
    return Bar(f"source since {ref}: {before} to {now} lines, in percent", round(100 * now / before, 1))


def sdk() -> Bar:
    """Count the distributions that only a server needs among those that the SDK brings."""
    brought, pending = {SDK}, [SDK]
    while pending:
        for text in metadata.requires(pending.pop()) or []:
            requirement = Requirement(text)
            if requirement.name not in brought and (
                not requirement.marker or requirement.marker.evaluate({"extra": ""})
            ):
                brought.add(requirement.name)
                pending.append(requirement.name)
    wrong = tuple(sorted(SERVER_LIBRARIES & brought))
    return Bar(f"server libraries among the SDK's {len(brought)} distributions", len(wrong), 0, wrong)


def memory() -> Bar:
    """Add up the resident memory of the running stack's processes, in GB, shared pages counted each time."""
    from tidemill_local import LocalStack  # noqa: PLC0415 - only where a stack is asked for

    programs = LocalStack(ROOT / ".tidemill").status().programs
    sizes = tuple(f"{each.name}: {each.resident_bytes / 1e9:.2f} GB" for each in programs)
    return Bar(
        "memory of all processes of the stack, GB", sum(each.resident_bytes for each in programs) / 1e9, None, sizes
    )


def _longest(name: str, lines: dict[str, int], limit: int) -> Bar:
    over = sorted(((count, path) for path, count in lines.items() if count > limit), reverse=True)
    return Bar(name, max(lines.values()), limit, tuple(f"{path}: {count}" for count, path in over))


def _functions(files: dict[str, str]) -> Iterator[tuple[str, int]]:
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def _is_source(path: str) -> bool:
    return path.endswith(".py") and "/src/" in path and not path.startswith(GENERATED)


def _python_files() -> list[str]:
    return [path for path in _git("ls-files", "*.py").splitlines() if not path.startswith(GENERATED)]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 - git's own words


if __name__ == "__main__":
    sys.exit(main())
