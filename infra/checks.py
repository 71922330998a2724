"""Runs every check and every test of the repository, and tells how long each took.

`python infra/checks.py [name ...]` runs all of them or the named ones. One that fails does not keep the others from
telling what they find. The tests wait for their servers as much as they compute: the checks run beside them, one after
the other, and each says what it found when it is done.
"""

import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

TESTS = "tests"
CHECKS: dict[str, list[str]] = {
    "ruff": [str(BIN / "ruff"), "check", "--quiet", "."],
    "format": [str(BIN / "ruff"), "format", "--quiet", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy", "."],
    "words": [sys.executable, "infra/words.py"],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
    "buf": [str(BIN / "buf"), "lint", "protos"],
    "breaking": [str(BIN / "buf"), "breaking", "protos", "--against", "protos/baseline.binpb"],
    "protos": [sys.executable, "infra/protos/generate.py", "--check"],
    TESTS: [sys.executable, "-m", "pytest", "--quiet", "--durations=10"],
}


def main() -> int:
    """Run the checks and return the exit code."""
    wanted = sys.argv[1:] or list(CHECKS)
    if unknown := [name for name in wanted if name not in CHECKS]:
        sys.stderr.write(f"There is no check {unknown[0]}; there are {', '.join(CHECKS)}.\n")
        return 2
    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as lane:
        beside = {name: lane.submit(run, name) for name in wanted if name != TESTS}
        results = {TESTS: run(TESTS)} if TESTS in wanted else {}
        results = {name: each.result() for name, each in beside.items()} | results
    say("\n" + "\n".join(f"{name:8} {seconds:6.1f} s  {outcome}" for name, (seconds, outcome) in results.items()))
    say(f"{'in all':8} {time.monotonic() - begin:6.1f} s")
    return 0 if all(outcome == "passed" for _, outcome in results.values()) else 1


def run(name: str) -> tuple[float, str]:
    """Run one check; what tests say is shown as they go, what another says when it is done."""
    begin = time.monotonic()
    told = None if name == TESTS else subprocess.PIPE
    errors = told and subprocess.STDOUT
    done = subprocess.run(CHECKS[name], cwd=ROOT, check=False, stdout=told, stderr=errors, text=True)  # noqa: S603 - our own commands
    outcome = "passed" if done.returncode == 0 else "FAILED"
    say(f"--- {name}: {outcome}\n{done.stdout or ''}".rstrip())
    return time.monotonic() - begin, outcome


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
