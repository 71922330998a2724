"""The machine that the demo runs on, for its report."""

import os
import platform
import re
from pathlib import Path

from tidemill_kit.models.numeric_format import FOR_ALL, computed_format, computes_bfloat16


def machine() -> dict[str, object]:
    """Return the processor, its cores, the memory (GB), and the numeric format that models compute in."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8", errors="replace") if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    chosen = os.environ.get(FOR_ALL, "auto")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": name[1] if name else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_bytes / 1000**3, 1),
        "bfloat16": computes_bfloat16(),
        "numeric_format": chosen if chosen != "auto" else computed_format("auto"),
    }
