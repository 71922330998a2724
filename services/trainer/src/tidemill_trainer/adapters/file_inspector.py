"""Looks into local files, without loading them: small ones in a thread, large JSON in a process with limits."""

import asyncio
import json
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tidemill_kit.manifest import MAX_JSON_BYTES, ArtifactRefused, refuse_what_runs

WALL_S = 120.0


class FileInspector:
    """Implements `ports.Inspector`: no code, no names of code, and weights whose header covers the file exactly."""

    async def inspect(self, path: str, local: Path) -> None:
        """See `Inspector.inspect`."""
        size = (await asyncio.to_thread(local.stat)).st_size
        if path.endswith(".json") and size > MAX_JSON_BYTES:
            await _inspect_apart(path, local)
        else:
            await asyncio.to_thread(_inspect, path, local)


def _inspect(path: str, local: Path) -> None:
    refuse_what_runs(local, path)
    if path.endswith(".safetensors"):
        try:
            with safe_open(local, framework="numpy"):  # maps the file and reads its header only
                pass
        except SafetensorError as error:
            raise ArtifactRefused(path, f"is not in the safetensors format ({error})") from error


async def _inspect_apart(path: str, local: Path) -> None:
    """Parsing holds the interpreter for seconds and takes gigabytes at the worst, so another process does it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemill_trainer.inspection", str(local), path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WALL_S):
            told, _ = await process.communicate()
    except TimeoutError:
        told = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not told:
        raise ArtifactRefused(path, "takes too much memory or time to be looked into")
    if refused := json.loads(told):
        raise ArtifactRefused(path, refused)
