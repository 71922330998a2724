"""Inspects local files without loading a model: small files in a thread, large JSON in a process with limits."""

import asyncio
import json
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tidemill_core.models.int8 import QUANTIZATION
from tidemill_core.models.manifest import MAX_JSON_BYTES, ArtifactRefused, refuse_what_runs
from tidemill_trainer.registry.domain.base_facts import FileFacts, modules_of

WALL_S = 120.0
MAX_CONTEXT_TOKENS = 2**31


class FileInspector:
    """Implements `ports.Inspector`: rejects code, references to code, and weights that do not match their header."""

    async def inspect(self, path: str, local: Path) -> FileFacts:
        """See `Inspector.inspect`."""
        size = (await asyncio.to_thread(local.stat)).st_size
        if path.endswith(".json") and size > MAX_JSON_BYTES:
            await _inspect_apart(path, local)
            return FileFacts()
        return await asyncio.to_thread(_inspect, path, local)


def _inspect(path: str, local: Path) -> FileFacts:
    refuse_what_runs(local, path)
    if path.endswith(".safetensors"):
        try:
            with safe_open(local, framework="numpy") as opened:  # maps the file and reads its header only
                shapes = ((name, len(opened.get_slice(name).get_shape())) for name in opened.keys())  # noqa: SIM118 - no dict
                return FileFacts(modules=modules_of(shapes))
        except SafetensorError as error:
            raise ArtifactRefused(path, f"is not in the safetensors format ({error})") from error
    if path == "chat_template.jinja":
        return FileFacts(chat_template=local.stat().st_size > 0)
    content = json.loads(local.read_bytes()) if path in {"config.json", "tokenizer_config.json"} else None
    if not isinstance(content, dict):
        return FileFacts()
    if path == "tokenizer_config.json":
        return FileFacts(chat_template=bool(content.get("chat_template")))
    return FileFacts(context_tokens=_context_tokens(content), quantized=content.get(QUANTIZATION) is not None)


def _context_tokens(config: dict[str, object]) -> int:
    """Return the context length in tokens, 0 if the config does not have it."""
    parts = [config, config.get("text_config")]
    for part in (part for part in parts if isinstance(part, dict)):
        for name in ("max_position_embeddings", "n_positions"):
            if type(value := part.get(name)) is int and 0 < value < MAX_CONTEXT_TOKENS:
                return value
    return 0


async def _inspect_apart(path: str, local: Path) -> None:
    """Parse in another process: it may hold the GIL for seconds and use gigabytes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemill_trainer.registry.inspection", str(local), path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WALL_S):
            received, _ = await process.communicate()
    except TimeoutError:
        received = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not received:
        raise ArtifactRefused(path, "takes too much memory or time to inspect")
    if refused := json.loads(received):
        raise ArtifactRefused(path, refused)
