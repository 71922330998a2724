"""The real vLLM as a child of an inference that runs in this process."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import httpx2
import psutil

PYTHON = Path(__file__).parents[2] / "engines" / "vllm" / ".venv" / "bin" / "python"
CHANGES = {"engine": "vllm", "vllm_python": PYTHON, "numeric_format": "float32", "vllm_adapter_rank": 8}
"""Settings of inference."""
HEAD_SIZE = 32
"""The smallest of vLLM on a processor."""
_RUNNING = re.compile(r"^vllm:num_requests_running\{[^}]*\} (\S+)", re.MULTILINE)
_WHOLE = re.compile(r'^vllm:request_success_total\{[^}]*finished_reason="(?:stop|length)"[^}]*\} (\S+)', re.MULTILINE)


def guardian() -> psutil.Process:
    """Return the parent of vLLM's processes."""
    (found,) = (each for each in psutil.Process().children() if "tidemill_vllm.guardian" in each.cmdline())
    return found


def server() -> psutil.Process:
    """Return the process of vLLM's API."""
    (found,) = guardian().children()
    return found


def core() -> psutil.Process:
    """Return the process that computes."""
    (found,) = (each for each in server().children() if "EngineCore" in " ".join(each.cmdline()))
    return found


async def running() -> int:
    """Return how many answers are being made."""
    return await _metric(_RUNNING)


async def whole_answers() -> int:
    """Return how many answers came to their end since vLLM started."""
    return await _metric(_WHOLE)


async def models() -> Sequence[str]:
    """Return the names of what is loaded: `base`, and adapters."""
    return [each["id"] for each in json.loads(await _got("/v1/models"))["data"]]


async def _metric(sought: re.Pattern[str]) -> int:
    found = sought.findall(await _got("/metrics"))
    assert found, sought.pattern
    return int(sum(map(float, found)))


async def _got(path: str) -> str:
    arguments, key = guardian().cmdline(), guardian().environ()["VLLM_API_KEY"]
    url = f"http://127.0.0.1:{arguments[arguments.index('--port') + 1]}{path}"
    async with httpx2.AsyncClient(timeout=60) as client:
        return (await client.get(url, headers={"authorization": f"Bearer {key}"})).text
