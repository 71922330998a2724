"""Runs a harness in a process of its own, for a bounded time, and reads what it found."""

import os
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tidemill_cli.harnesses.harness import (
    INSTALL_FAILED,
    STOPPED,
    TIMED_OUT,
    Found,
    Harness,
    HarnessFailed,
    Target,
)
from tidemill_client.connection import tls_of_environment

_LOG = "harness.log"
_GRACE_S = 5.0
_VERSION_LIMIT_S = 60.0
_MAX_VERSION = 64
_KEPT = ("LANG", "LC_ALL", "PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables that a harness sees of ours; no other secret of the user's environment."""
_WITH_PARENT = (
    "import ctypes, runpy, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
    "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
"""Runs a module that ends with its parent: by PR_SET_PDEATHSIG of prctl(2)."""


def run_harness(
    harness: Harness, python: Path, folder: Path, target: Target, *, time_limit_s: float, online: bool
) -> Found:
    """Run a harness against a deployment, and return what it found, without the token.

    Raises:
        HarnessFailed: it ended without a report that can be read.
        InvalidInput: nothing can be asked.

    """
    arguments = [str(python), "-c", _WITH_PARENT, harness.module, *harness.prepare(folder, target)]
    environment = {**_environment(folder, online=online), **_trusting(folder), **harness.environment(target)}
    try:
        code = _bounded(arguments, environment, folder, time_limit_s=time_limit_s)
    except OSError as error:
        message = f"{harness.name} cannot be started ({error.strerror or error}): its environment has no usable Python"
        raise HarnessFailed(INSTALL_FAILED, message) from error
    if code is None:
        message = f"{harness.name} did not end within {time_limit_s:g} s: ask for fewer tests, or set --time-limit"
        raise HarnessFailed(TIMED_OUT, message)
    if code:
        raise HarnessFailed(STOPPED, _stopped(harness, code, online=online))
    found = harness.read(folder)
    token = target.token.encode()
    return Found(scores=found.scores, report=found.report.replace(token, b"***") if token else found.report)


def version_of(harness: Harness, python: Path) -> str:
    """Return the version that is installed; "" where it is not known."""
    ask = f"from importlib.metadata import version; print(version({harness.module!r}))"
    command = [str(python), "-c", ask]
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, check=True, timeout=_VERSION_LIMIT_S, stdin=subprocess.DEVNULL
        )
        return asked.stdout.decode(errors="replace").strip()[:_MAX_VERSION]
    return ""


def _environment(folder: Path, *, online: bool) -> dict[str, str]:
    """Return variables by which a harness writes into the folder alone, and fetches nothing unless it may."""
    home = str(folder.resolve())
    kept = {name: os.environ[name] for name in (*_KEPT, *map(str.lower, _KEPT)) if name in os.environ}
    places = dict.fromkeys(("HOME", "HF_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), home)
    offline = {} if online else {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {**kept, **places, **offline, "PYTHONUTF8": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def _trusting(folder: Path) -> dict[str, str]:
    """Return variables by which a harness trusts the CA of the platform, beside those that it would trust anyway."""
    own = tls_of_environment().ca_file
    if own is None:
        return {}
    usual, bundle = ssl.get_default_verify_paths().cafile, folder / "ca.pem"
    bundle.write_bytes(b"\n".join(each.read_bytes() for each in (own, Path(usual) if usual else None) if each))
    return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(bundle.resolve()))


def _bounded(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, time_limit_s: float
) -> int | None:
    """Return the exit code; None where it had to be ended."""
    with (
        (folder / _LOG).open("wb") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            return process.wait(time_limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process with all that it has started, where any is left."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)


def _stopped(harness: Harness, code: int, *, online: bool) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    fetches = "" if online else "; what it has to fetch from Hugging Face needs --online"
    return f"{harness.name} {how}: run it again with --keep FOLDER, and look at {_LOG} there{fetches}"
