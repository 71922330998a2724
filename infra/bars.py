"""Prints how the code stands against the bars of its structure, or of speed, and fails when one is missed.

`python infra/bars.py` reads the tracked files; `--since REF` compares the size of the source with that of an earlier
commit, `--stack` adds the memory of the running stack, `--missed` prints only what is missed. `--speed` measures speed
instead, on a stack of its own; names of measurements (`--speed engine aggregates`) run only those. `--json` prints all
of it for programs.
"""

import argparse
import ast
import gc
import json
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.remembered import Remembered  # noqa: E402 - this is run by path, too

MAX_FILE, MAX_FUNCTION, MAX_APP = 400, 60, 150
MAX_STACK_GB = 2.0
SDK = "tidemill"
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
    parser.add_argument("--speed", nargs="*", metavar="NAME", help="measure speed: by all measurements, or by these")
    parser.add_argument("--missed", action="store_true", help="print only the bars that are missed")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.speed is not None:
        return speed(chosen.speed, as_json=chosen.json)
    gc.disable()  # trees have no cycles, and collections would visit each a dozen times
    files = {path: (ROOT / path).read_text() for path in _python_files()}
    bars = [*structure(files), sdk()]
    if chosen.since:
        bars.append(growth(files, chosen.since))
    if chosen.stack:
        bars += memory()
    if chosen.missed:
        bars = [bar for bar in bars if not bar.holds]
    if chosen.json:
        print(json.dumps([asdict(bar) | {"holds": bar.holds} for bar in bars], indent=2))  # noqa: T201 - a command prints
    else:
        for bar in bars:
            limit = "" if bar.limit is None else f"at most {bar.limit:g}"
            print(f"{bar.name:52} {bar.value:>9g}  {limit:14} {'' if bar.holds else 'MISSED'}")  # noqa: T201 - a command prints
            for place in bar.places:
                print(f"    {place}")  # noqa: T201 - a command prints
    return 0 if all(bar.holds for bar in bars) else 1


def speed(chosen: list[str], *, as_json: bool) -> int:
    """Measure speed, print the table, and return the exit code; a terminal shows what runs and an estimate."""
    sys.path.insert(0, str(ROOT))
    from tests.bench import _bars  # noqa: PLC0415 - only where it is asked for, as it imports what it measures

    known = sorted({bar.measured_by.rpartition(".")[2] for bar in _bars.BARS})
    if unknown := sorted(set(chosen) - set(known)):
        sys.stderr.write(f"there is no measurement {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    results = _bars.measure(chosen, _say)
    shown = json.dumps(_bars.as_json(results), indent=2) if as_json else "\n".join(_bars.table(results))
    print(shown)  # noqa: T201 - a command prints
    return 0 if all(result.holds for result in results) else 1


def structure(files: dict[str, str]) -> Iterator[Bar]:
    """Measure files, functions and composition roots."""
    lines = {path: text.count("\n") for path, text in files.items()}
    yield _longest("lines of the longest file", lines, MAX_FILE)
    yield _longest("lines of the longest function", dict(_long_functions(files)), MAX_FUNCTION)
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
    before = sum(_lines_at(ref, [path for path in listed if _is_source(path)]))
    now = sum(text.count("\n") for path, text in files.items() if _is_source(path))
    return Bar(f"source since {ref}: {before} to {now} lines, in percent", round(100 * now / before, 1))


def sdk() -> Bar:
    """Count the distributions that the SDK brings beside those that its pyproject.toml lists."""
    pyproject = tomllib.loads((ROOT / "libs" / "sdk" / "pyproject.toml").read_text(encoding="utf-8"))
    brought, pending = {SDK}, [SDK]
    while pending:
        for text in metadata.requires(pending.pop()) or []:
            requirement = Requirement(text)
            if requirement.name not in brought and (
                not requirement.marker or requirement.marker.evaluate({"extra": ""})
            ):
                brought.add(requirement.name)
                pending.append(requirement.name)
    wrong = tuple(sorted(brought - set(pyproject["tool"]["tidemill"]["installs"])))
    return Bar(f"others than its own few among the SDK's {len(brought)} distributions", len(wrong), 0, wrong)


def memory(folder: Path = ROOT / ".tidemill") -> Iterator[Bar]:
    """Add up the memory of the running stack's processes; the bar is for an idle one that has loaded both models."""
    from tidemill_local import LocalStack  # noqa: PLC0415 - only where a stack is asked for

    resident, proportional, places = 0.0, 0.0, []
    for program in LocalStack(folder).status().programs:
        parts = [_memory_gb(process) for process in _with_children(program.pid)]
        rss, pss = sum(each[0] for each in parts), sum(each[1] for each in parts)
        resident, proportional = resident + rss, proportional + pss
        places.append(f"{program.name}: {pss:.2f} GB in {len(parts)} processes (resident {rss:.2f})")
    yield Bar("memory of the stack, GB, shared pages counted once", round(proportional, 2), MAX_STACK_GB, tuple(places))
    yield Bar("the same, GB, shared pages counted each time", round(resident, 2))


def _with_children(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid) if pid else None
        return [process, *process.children(recursive=True)] if process else []
    except psutil.NoSuchProcess:
        return []


def _memory_gb(process: psutil.Process) -> tuple[float, float]:
    """Return the resident and the proportional set size; zeros of a process that has ended."""
    try:
        found = process.memory_full_info()
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    return found.rss / 1e9, found.pss / 1e9


def _longest(name: str, lines: dict[str, int], limit: int) -> Bar:
    over = sorted(((count, path) for path, count in lines.items() if count > limit), reverse=True)
    return Bar(name, max(lines.values()), limit, tuple(f"{path}: {count}" for count, path in over))


def _long_functions(files: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the longest function of each file, and all that are too long."""
    known = Remembered("bars", Path(__file__))
    for path, text in files.items():
        yield from known.of(path, text, _longest_of)
    known.keep()


def _longest_of(path: str, text: str) -> list[tuple[str, int]]:
    functions = [
        (f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for node in _functions(ast.parse(text))
    ]
    functions.sort(key=lambda each: each[1], reverse=True)
    return [each for at, each in enumerate(functions) if at == 0 or each[1] > MAX_FUNCTION]


def _functions(block: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions in a block and in the blocks inside it; expressions, which are most of a tree, have none."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(block, name, ()):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield each
            yield from _functions(each)


def _is_source(path: str) -> bool:
    return path.endswith(".py") and "/src/" in path and not path.startswith(GENERATED)


def _lines_at(ref: str, paths: Sequence[str]) -> Iterator[int]:
    """Return the number of lines that each file had at a commit, read by one process."""
    names = "".join(f"{ref}:{path}\n" for path in paths).encode()
    command = ["git", "cat-file", "--batch"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, input=names, check=True).stdout  # noqa: S603 - git's own words
    at = 0
    for _ in paths:
        header, _, _ = output[at : at + 200].partition(b"\n")
        begin, size = at + len(header) + 1, int(header.split()[-1])
        yield output.count(b"\n", begin, begin + size)
        at = begin + size + 1


def _say(line: str) -> None:
    if sys.stderr.isatty() or "failed" in line:
        sys.stderr.write(line + "\n")


def _python_files() -> list[str]:
    return [path for path in _git("ls-files", "*.py").splitlines() if not path.startswith(GENERATED)]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 - git's own words


if __name__ == "__main__":
    sys.exit(main())
