"""Environments of what others wrote and the repository's own must not contain, each made by its lock."""

import subprocess
import sys
from pathlib import Path


def installed(lock: Path, folder: Path) -> Path:
    """Return the folder of its programs, after installing it where that has not been done for this lock."""
    done, programs = folder / "installed.lock", folder / "bin"
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        uv, python = Path(sys.executable).with_name("uv"), programs / "python"
        subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, folder], check=True)  # noqa: S603 - ours
        subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "-p", python, lock], check=True)  # noqa: S603
        done.write_bytes(lock.read_bytes())
    return programs
