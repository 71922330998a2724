"""Runs every check and every test of the repository, and tells how long each took.

`python infra/checks.py [name ...]` runs all of them or the named ones. One that fails does not keep the others from
telling what they find.
"""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

CHECKS: dict[str, list[str]] = {
    "ruff": [str(BIN / "ruff"), "check", "--quiet", "."],
    "format": [str(BIN / "ruff"), "format", "--quiet", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy", "."],
    "imports": [str(BIN / "lint-imports"), "--no-cache"],
    "buf": [str(BIN / "buf"), "lint", "protos"],
    "breaking": [str(BIN / "buf"), "breaking", "protos", "--against", "protos/baseline.binpb"],
    "protos": [sys.executable, "infra/protos/generate.py", "--check"],
    "tests": [sys.executable, "-m", "pytest", "--quiet", "--durations=10"],
}


def main() -> int:
    """Run the checks and return the exit code."""
    wanted = sys.argv[1:] or list(CHECKS)
    if unknown := [name for name in wanted if name not in CHECKS]:
        sys.stderr.write(f"There is no check {unknown[0]}; there are {', '.join(CHECKS)}.\n")
        return 2
    results = {name: run(name) for name in wanted}
    say("\n" + "\n".join(f"{name:8} {seconds:6.1f} s  {outcome}" for name, (seconds, outcome) in results.items()))
    say(f"{'in all':8} {sum(seconds for seconds, _ in results.values()):6.1f} s")
    return 0 if all(outcome == "passed" for _, outcome in results.values()) else 1


def run(name: str) -> tuple[float, str]:
    """Run one check; its output goes where ours goes."""
    say(f"--- {name}")
    begin = time.monotonic()
    done = subprocess.run(CHECKS[name], cwd=ROOT, check=False)  # noqa: S603 - our own commands
    return time.monotonic() - begin, "passed" if done.returncode == 0 else "FAILED"


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
