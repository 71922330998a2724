"""Runs every measurement, here and of the services, on one fresh stack with its services: `make bench`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tidemill_local import LocalStack

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("tests/bench/[a-z]*.py", "services/*/tests/bench/[a-z]*.py")


def main() -> int:
    """Run the measurements one after the other and return the exit code."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        stack = LocalStack(Path(name) / ".tidemill")
        try:
            stack.up(say)
            environment = {**os.environ, "TIDEMILL_TEST_STACK": str(stack.addresses_file)}
            for script in sorted(script for pattern in SCRIPTS for script in ROOT.glob(pattern)):
                module = ".".join(script.relative_to(ROOT).with_suffix("").parts)
                say(f"\n--- {module}")
                command = [sys.executable, "-m", module]
                done = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603 - our own scripts
                failed += [module] if done.returncode else []
        finally:
            stack.down()
    if failed:
        say(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
