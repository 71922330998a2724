"""Checks that every locked package has a wheel for each machine and Python that Tidemill is installed on.

`python infra/locks/wheels.py` asks the registry through uv, for each of them, whether the root lock can be installed
without building anything; `make locks` does so at its end. What has no wheel anywhere is named in FROM_SOURCE.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

ROOT_LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
"""On macOS the packages are there; the servers of `make up` run on Linux only."""
PYTHONS = ("3.11", "3.12", "3.13")
FROM_SOURCE = ("rouge-score",)
"""Pure Python, and only the tests and the example's shuffles use it."""
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
"""PyTorch's oldest."""


def lacking(lock: Path, platform: str, python: str, *, uv: Sequence[str] = (sys.executable, "-m", "uv")) -> str:
    """Return what uv says where a package of the lock has no wheel for a platform and a Python, otherwise nothing."""
    command = [*uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--no-python-downloads"]
    command += ["--only-binary", ":all:", *(flag for name in FROM_SOURCE for flag in ("--no-binary", name))]
    command += ["--python-platform", platform, "--python-version", python, str(lock)]
    done = subprocess.run(command, env=os.environ | MACOS, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return done.stderr.strip() if done.returncode else ""


def main() -> int:
    """Check each platform with each Python, and return the exit code."""
    failed = False
    for platform, python in product(PLATFORMS, PYTHONS):
        missing = lacking(ROOT_LOCK, platform, python)
        failed = failed or bool(missing)
        sys.stdout.write(f"{platform} {python}: {missing or 'every package has a wheel'}\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
