"""Environments of harnesses: one for each lock, made when it is first needed, and imported by nothing of ours."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from tidemill_cli.harnesses.harness import INSTALL_FAILED, Harness, HarnessFailed

INSTALL_LIMIT_S = 1800
_READY = "tidemill-ready"


def environments_folder() -> Path:
    """Return where environments are made: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "tidemill" / "harnesses"


def python_of(harness: Harness, given: Path | None, *, say: Callable[[str], None]) -> Path:
    """Return the Python of a harness's environment: the given one, or its own, which is installed if need be.

    Raises:
        HarnessFailed: there is none, and it cannot be installed.

    """
    if given is not None:
        python = given / "bin" / "python"
        if not python.exists():
            raise HarnessFailed(INSTALL_FAILED, f"{harness.name} has no environment there: it has no bin/python")
        return python
    lock = resources.files("tidemill_cli.harnesses").joinpath(f"{harness.module}.lock").read_bytes()
    folder = environments_folder() / f"{harness.name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if _is_ready(folder):
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not _is_ready(folder):
            say(f"{harness.name} is installed into {folder}, once")
            _install(harness, folder, lock)
    return python


def _is_ready(folder: Path) -> bool:
    """Whether it is installed, and the Python that it was made of is still there."""
    return (folder / _READY).exists() and (folder / "bin" / "python").exists()


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait until no other process installs the same."""
    with file.open("w", encoding="utf-8") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _install(harness: Harness, folder: Path, lock: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what was left half way
    requirements, log = folder.with_suffix(".txt"), folder.with_suffix(".log")
    requirements.write_bytes(lock)
    with log.open("wb") as output:
        for command in _commands(folder, requirements):
            try:
                done = subprocess.run(  # noqa: S603 - our own command
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=INSTALL_LIMIT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise _not_installed(harness, type(error).__name__) from error
            if done.returncode:
                raise _not_installed(harness, f"exit code {done.returncode}")
    (folder / _READY).touch()


def _commands(folder: Path, requirements: Path) -> Sequence[Sequence[str]]:
    """Return what makes the environment: by uv where that is there, which is faster, else by pip."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    python, locked = (
        str(folder / "bin" / "python"),
        ["--no-deps", "--require-hashes", "--requirement", str(requirements)],
    )
    if uv:
        return (
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", python, *locked],
        )
    return (
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *locked],
    )


def _not_installed(harness: Harness, why: str) -> HarnessFailed:
    message = (
        f"{harness.name} could not be installed ({why}): the package index has to be reachable; the log is in the "
        "user's cache, tidemill/harnesses. Or name an environment that has it with --environment"
    )
    return HarnessFailed(INSTALL_FAILED, message)
