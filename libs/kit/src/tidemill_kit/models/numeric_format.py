"""The numeric format that models compute in: one choice, and one answer to what a processor computes in."""

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import structlog
from pydantic import Field

from tidemill_kit.runtime.settings import ServiceSettings

NumericFormat = Literal["bfloat16", "float32"]
"""The name of the format, which is also torch's."""

FOR_ALL = "TIDEMILL_NUMERIC_FORMAT"
_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As /proc/cpuinfo has them: the first two on x86-64, the last on arm64."""
_HELD_WITHOUT = frozenset({"default", "avx2"})
"""Values of ATEN_CPU_CAPABILITY that keep torch from the instructions."""
_HELD_WITH = re.compile("all|default|bf16|fp16|amx|avx10", re.IGNORECASE)
"""Values of ONEDNN_MAX_CPU_ISA that leave the instructions to oneDNN."""

_log = structlog.get_logger()


class ModelSettings(ServiceSettings):
    """Settings of a service that computes with models."""

    numeric_format: Literal["auto", "bfloat16", "float32"] = Field(
        default_factory=lambda: os.environ.get(FOR_ALL, "auto"), validate_default=True
    )
    """What models compute in: auto, bfloat16 or float32; unset it is TIDEMILL_NUMERIC_FORMAT, else auto."""


def computed_format(choice: Literal["auto", "bfloat16", "float32"], *, native: bool | None = None) -> NumericFormat:
    """Return the format to compute in: auto takes bfloat16 where the device has instructions for it.

    `native` says so of a GPU; left out, it is asked of this machine's processor. Elsewhere bfloat16 is emulated, and
    slower than float32.
    """
    if choice != "auto":
        return choice
    if native is None:
        native = computes_bfloat16()
    return "bfloat16" if native else "float32"


def computes_bfloat16(*, cpuinfo: Path = _CPUINFO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this processor computes in bfloat16, as far as torch and oneDNN are not kept from it."""
    if environment.get("ATEN_CPU_CAPABILITY", "").lower() in _HELD_WITHOUT:
        return False
    if not _HELD_WITH.search(environment.get("ONEDNN_MAX_CPU_ISA") or "all"):
        return False
    return not _BFLOAT16_FLAGS.isdisjoint(processor_flags(cpuinfo))


@cache
def log_computing(numeric_format: str, cpu_capability: str) -> None:
    """Log in which format, and with which of the processor's instructions, torch computes; once for each of both."""
    _log.info("torch_computes", numeric_format=numeric_format, cpu_capability=cpu_capability)


@cache
def processor_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Return what this processor can do, by Linux's names; nothing where that is unknown. Read once."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ())
