"""How vLLM is run, and whether it can be here."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from tidemill_inference.engines.limits import EngineLimits
from tidemill_kit.models.numeric_format import NumericFormat, processor_flags

PROCESS_BYTES = 1536 * 1024 * 1024
"""What vLLM's three processes take with nothing in them."""
GUARDIAN = ("-m", "tidemill_vllm.guardian")
INSTALL = "install it by `make setup ENGINE=vllm`, and name its Python in INFERENCE_VLLM_PYTHON"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """A Python of an environment with vLLM for children of this process, or the addresses of servers that run.

    Of `limits` a prompt and its answer may take `cache_tokens`; `cache_tokens` here is the cache of a whole server.
    `start_s` is how long a server may take until it answers.
    """

    folder: Path
    """For what servers are given of models, and for their logs."""
    numeric_format: NumericFormat
    python: Path | None = None
    urls: Sequence[str] = ()
    key: SecretStr | None = None
    limits: EngineLimits = field(default_factory=EngineLimits)
    cache_tokens: int = 32768
    adapters: int = 4
    adapter_rank: int = 64
    threads: int = 0
    start_s: float = 600.0
    stall_s: float = 60.0
    log_bytes: int = 64 * 1024 * 1024
    arguments: Sequence[str] = ()
    command: Sequence[str] = GUARDIAN

    def bytes_beside(self, token_bytes: int) -> int:
        """Return what a server takes beside the weights."""
        return self.cache_tokens * token_bytes + PROCESS_BYTES

    def why_not(self, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
        """Return why vLLM cannot run here, and what to do about it; "" if it can."""
        if self.urls:
            return ""
        if self.python is None or not self.python.exists():
            return f"vLLM is not installed: {INSTALL}"
        if platform.machine() == "x86_64" and not has_gpu() and "avx2" not in processor_flags(cpuinfo):
            return "this processor has no AVX2, which vLLM needs"
        return ""


def has_gpu() -> bool:
    """Return whether the driver of an NVIDIA GPU runs."""
    return Path("/proc/driver/nvidia/version").exists()
