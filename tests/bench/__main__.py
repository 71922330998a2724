"""Runs every measurement of this folder on one fresh stack with its services: `make bench`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tidemill_local import LocalStack

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Run the measurements one after the other and return the exit code."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as name:
        stack = LocalStack(Path(name) / ".tidemill")
        try:
            stack.up(say)
            environment = {**os.environ, "TIDEMILL_TEST_STACK": str(stack.addresses_file)}
            for script in sorted(FOLDER.glob("[a-z]*.py")):
                say(f"\n--- {script.stem}")
                done = subprocess.run([sys.executable, str(script)], cwd=name, env=environment, check=False)  # noqa: S603 - our own scripts
                failed += [script.stem] if done.returncode else []
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
