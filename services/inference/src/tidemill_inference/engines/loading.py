"""Loads local models: files, sizes, weights or servers, engines.

The libraries, which take seconds to import, load in threads.
"""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tidemill_inference.engines.chat_prompts import ChatRunner
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.memory import Base, SharedEngine, SharedWeights
from tidemill_inference.engines.model_files import ModelFiles
from tidemill_inference.engines.ports import TRANSFORMERS, VLLM, ModelVersion
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_kit.models.serving_imports import leave_out_training

if TYPE_CHECKING:
    from tidemill_inference.engines.transformers.engine import TransformersEngine
    from tidemill_inference.engines.transformers.weights import ModelWeights
    from tidemill_inference.engines.vllm.base import VllmBase

_log = structlog.get_logger()

_one_imports = threading.Lock()
"""Threads that import transformers at the same time find modules of each other half made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How local engines are made.

    `memory_bytes` bounds weights and caches of all local engines together. `idle_s` is how long an unused engine stays
    loaded, 0 is forever. `adapter_limits` apply to engines with an adapter, whose cache is separate from their base's.
    """

    numeric_format: NumericFormat
    memory_bytes: int
    run_chat: ChatRunner
    limits: EngineLimits = field(default_factory=EngineLimits)
    adapter_limits: EngineLimits | None = None
    threads: SharedThreads = field(default_factory=lambda: SharedThreads(0))
    before: LoadedBefore | None = None
    idle_s: float = 0.0
    engine: str = TRANSFORMERS
    """What runs a model that names none."""
    vllm: VllmOptions | None = None


class EngineLoader:
    """Loads weights and engines by the options; keeps none of them."""

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._files = files
        self._options = options
        self._said: set[str] = set()

    def with_engine(self, model: ModelVersion) -> ModelVersion:
        """Return the model with the engine that runs it here; a base has its adapter's.

        Where vLLM cannot run, transformers does, and the log says why.
        """
        engine = model.engine or self._options.engine
        if engine == VLLM and (why := self._options.vllm.why_not() if self._options.vllm else "it is not configured"):
            engine = TRANSFORMERS
            if why not in self._said:
                self._said.add(why)
                _log.warning("vllm_not_available", why=why, instead=TRANSFORMERS)
        return replace(model, engine=engine, base=replace(model.base, engine=engine) if model.base else None)

    async def verified_files(self, project: str, model: ModelVersion) -> Path:
        """Return the folder with a version's verified files; see `ModelFiles.fetch`."""
        return await self._files.fetch(project, model)

    async def measure(self, folder: Path, weights: SharedWeights) -> None:
        """Read the sizes of weights, and of a token in their cache, from the files; once is enough."""

        def sizes() -> tuple[int, int]:
            import_libraries()
            from tidemill_inference.engines.transformers import weights as model_weights  # noqa: PLC0415 - seconds of imports

            name, dtype = weights.model.id, model_weights.dtype_of(self._options.numeric_format)
            stored = model_weights.stored_bytes(folder, name=name, dtype=dtype)
            return stored, model_weights.token_bytes(folder, name=name, dtype=dtype)

        if not weights.token_bytes:
            stored, weights.token_bytes = await asyncio.to_thread(sizes)
            vllm = self._options.vllm if weights.model.engine == VLLM else None
            weights.bytes = stored + (vllm.bytes_beside(weights.token_bytes) if vllm else 0)

    async def loaded_base(self, project: str, folder: Path, weights: SharedWeights) -> Base:
        """Read weights from verified files into memory that was granted, or have vLLM do so."""
        if weights.model.engine == VLLM:
            return await self._vllm_base(project, folder, weights)

        def read() -> Base:
            from tidemill_inference.engines.transformers.weights import ModelWeights, dtype_of  # noqa: PLC0415 - ditto

            return ModelWeights(folder, name=weights.model.id, dtype=dtype_of(self._options.numeric_format))

        loaded = await asyncio.to_thread(read)
        weights.bytes = loaded.bytes
        return loaded

    async def started_engine(self, project: str, model: ModelVersion, base: Base) -> SharedEngine:
        """Return a running engine over a base, with an adapter if the model is one."""

        async def files() -> Path:
            return await self.verified_files(project, model)

        if model.engine == VLLM:
            vllm: VllmBase = base  # type: ignore[assignment] # bases of an engine are its own
            return await vllm.engine(model, files if model.base else None, run_chat=self._options.run_chat)
        adapter_folder = await files() if model.base else None

        def made() -> "TransformersEngine":
            from tidemill_inference.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 - ditto
            from tidemill_inference.engines.transformers.lora import LoraAdapter  # noqa: PLC0415 - seconds of imports

            adapter = None
            if adapter_folder is not None:
                adapter = LoraAdapter.read(adapter_folder, name=model.id, base=(model.base or model).id)
            weights: ModelWeights = base  # type: ignore[assignment] # ditto
            return TransformersEngine(
                weights, name=model.id, limits=self._limits(model), run_chat=self._options.run_chat, adapter=adapter
            )

        engine = await asyncio.to_thread(made)
        engine.start(self._options.threads)
        return engine

    async def _vllm_base(self, project: str, folder: Path, weights: SharedWeights) -> Base:
        options = self._options.vllm
        assert options is not None  # noqa: S101 - else transformers runs it

        async def files() -> Path:
            return await self.verified_files(project, weights.model)

        def imported() -> type["VllmBase"]:
            import_libraries()
            from tidemill_inference.engines.vllm.base import VllmBase  # noqa: PLC0415 - seconds of imports

            return VllmBase

        kind = await asyncio.to_thread(imported)
        return await kind.started(weights, options, project=project, folder=folder, files=files)

    def cache_tokens(self, model: ModelVersion) -> int:
        """Return the size of a model's own KV cache; in vLLM that of its base serves all."""
        return 0 if model.engine == VLLM else self._limits(model).cache_tokens

    def estimated_bytes(self, model: ModelVersion) -> int:
        """Return a model's size by its files, which have 16 bits as a rule."""
        weights = sum(ref.size for path, ref in model.files.items() if path.endswith(".safetensors"))
        return weights * 2 if self._options.numeric_format == "float32" else weights

    def _limits(self, model: ModelVersion) -> EngineLimits:
        options = self._options
        return (options.adapter_limits if model.base else None) or options.limits


def import_libraries() -> None:
    """Import the libraries ahead of the first load, one thread at a time; the load reports what fails here."""
    for module in ("lora", "engine"):
        with _one_imports, suppress(ImportError):
            leave_out_training()
            import_module(f"tidemill_inference.engines.transformers.{module}")
