"""Looks into local files, in a thread and without loading them."""

import asyncio
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tidemill_kit.manifest import ArtifactRefused, refuse_what_runs


class FileInspector:
    """Implements `ports.Inspector`: no code, no names of code, and weights whose header covers the file exactly."""

    async def inspect(self, path: str, local: Path) -> None:
        """See `Inspector.inspect`."""
        await asyncio.to_thread(_inspect, path, local)


def _inspect(path: str, local: Path) -> None:
    refuse_what_runs(local, path)
    if path.endswith(".safetensors"):
        try:
            with safe_open(local, framework="numpy"):  # maps the file and reads its header only
                pass
        except SafetensorError as error:
            raise ArtifactRefused(path, f"is not in the safetensors format ({error})") from error
