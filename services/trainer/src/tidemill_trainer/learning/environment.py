"""What a training runs on and with, beside the versions of libraries."""

import hashlib
import platform
from pathlib import Path

import tidemill_trainer

_CPUINFO = Path("/proc/cpuinfo")
_DIGITS = 12
_PACKAGE = Path(tidemill_trainer.__file__).parent
_TRAINS = ("learning", "training/domain")
"""The folders whose code decides what a training computes."""


def code_digest(package: Path = _PACKAGE) -> str:
    """Return a digest of the code that trains, without the modules that it imports from elsewhere.

    Scores of rewards, the escaping of examples and libraries are of the release and of `versions`.
    """
    digest = hashlib.sha256()
    for path in sorted(path for folder in _TRAINS for path in (package / folder).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package)}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:_DIGITS]


def processor_name(cpuinfo: Path = _CPUINFO) -> str:
    """Return the processor's model as Linux names it, else its architecture."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.machine()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.machine()
