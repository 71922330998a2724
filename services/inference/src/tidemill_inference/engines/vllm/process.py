"""A child process of vLLM: what it is given, and its end."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidemill_inference.engines.vllm.options import VllmOptions, has_gpu

PASSED_ON = (
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LD_LIBRARY_PATH",
    "ONEDNN_MAX_CPU_ISA",
    "PATH",
    "TIDEMILL_STACK_FOLDER",
    "TMPDIR",
)
"""Variables that it inherits; the service's secrets are not among them."""
_LOG_MODE = 0o600
_END_S = 10.0
BASE = "base"
"""The name of the base model in a child of this process; adapters have others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server gets to know of the model."""

    folder: Path
    context_tokens: int
    cache_bytes: int


class VllmProcess:
    """A running child. Its parent is `tidemill_vllm.guardian`, which ends it when this process ends."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    @classmethod
    async def start(cls, options: VllmOptions, served: Served, *, key: str, log: Path) -> "VllmProcess":
        """Start it; it answers later."""
        assert options.python is not None  # noqa: S101 - it can run here
        port = _free_port()
        descriptor = _begun(log)
        try:
            process = await asyncio.create_subprocess_exec(
                str(options.python),
                *options.command,
                *arguments(options, served, port=port),
                stdin=asyncio.subprocess.PIPE,  # closed by the system when this process ends, by which it ends too
                stdout=descriptor,
                stderr=descriptor,
                env=environment(options, key=key),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        return cls(process, port)

    @property
    def pid(self) -> int:
        """The process's id, which is its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Return its exit status, once all of it has ended."""
        status = await self._process.wait()
        self._kill()
        return status

    async def end(self) -> None:
        """End it, in order if that is quick."""
        if self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
        self._kill()
        await self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def shorten(log: Path, *, max_bytes: int) -> None:
    """Go on with an empty log where it is longer, and keep the last part of it beside it, as `<name>.1`.

    The child appends to the file that it was given, wherever its end is. Lines that it writes meanwhile may be lost.
    """
    if (size := log.stat().st_size) <= max_bytes:
        return
    with log.open("rb") as written:
        written.seek(size - max_bytes)
        last = written.read(max_bytes)
    before = os.open(_before(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _LOG_MODE)
    with os.fdopen(before, "wb") as kept:
        kept.write(last)
    os.truncate(log, 0)


def _begun(log: Path) -> int:
    """Open a new log; that of the process before, which says why it ended, is kept as `<name>.1`."""
    if log.exists() and log.stat().st_size:
        log.replace(_before(log))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, _LOG_MODE)


def _before(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def arguments(options: VllmOptions, served: Served, *, port: int) -> Sequence[str]:
    """Return vLLM's own arguments; the operator's come last and count before ours."""
    own = {
        "--model": served.folder,
        "--served-model-name": BASE,
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": options.numeric_format,
        "--max-model-len": served.context_tokens,
        "--max-num-seqs": options.limits.batch,
        "--kv-cache-memory-bytes": served.cache_bytes,
        "--max-loras": options.adapters,
        "--max-lora-rank": options.adapter_rank,
        "--structured-outputs-config": '{"backend": "guidance"}',
    }
    flags = ("--enable-lora", "--enforce-eager", "--disable-uvicorn-access-log", "--enable-prompt-tokens-details")
    return (*(text for name, value in own.items() for text in (name, str(value))), *flags, *options.arguments)


def environment(options: VllmOptions, *, key: str) -> Mapping[str, str]:
    """Return all of its environment."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    # Small functions are compiled for a processor with their first use, by a compiler that need not be there.
    eager = {} if has_gpu() else {"TORCH_COMPILE_DISABLE": "1"}
    return (
        kept
        | threads
        | eager
        | {
            "DO_NOT_TRACK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
            "HOME": str(options.folder),
            "TOKENIZERS_PARALLELISM": "false",
            "TORCHINDUCTOR_CACHE_DIR": str(options.folder / "compiled"),
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_API_KEY": key,
            # Threads that are bound to processors wait for whatever else runs on these.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_NO_USAGE_STATS": "1",
            # Others fetch adapters that a request names from a folder, or from a hub.
            "VLLM_PLUGINS": "tidemill_grouped_lora",
        }
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
