"""A base model in vLLM: its server, and the engines of the base and of its adapters on it."""

import asyncio
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path

from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_inference.engines.chat_prompts import ChatRunner
from tidemill_inference.engines.memory import SharedWeights
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.engines.transformers.lora import LoraAdapter
from tidemill_inference.engines.vllm.engine import ModelText, VllmEngine
from tidemill_inference.engines.vllm.given import Given, remove_given, write_given
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_inference.engines.vllm.process import Served
from tidemill_inference.engines.vllm.server import Files, VllmServer
from tidemill_inference.errors import ModelRefused


class VllmBase:
    """Implements `memory.Base`."""

    def __init__(self, server: VllmServer, given: Given, *, size: int, context_tokens: int, fingerprint: str) -> None:
        self.bytes = size
        self.server = server
        self._given = given
        self._context_tokens = context_tokens
        self._fingerprint = fingerprint
        self._text = ModelText.of(given.tokenizer)

    @classmethod
    async def started(
        cls, weights: SharedWeights, options: VllmOptions, *, project: str, folder: Path, files: Files
    ) -> "VllmBase":
        """Start a server for a model of a project, or find the one that an operator runs.

        Raises:
            ModelRefused: vLLM cannot serve it.
            DependencyUnavailable: the server does not answer in time.

        """
        model = weights.model
        async with AsyncExitStack() as undoing:  # what no other component knows of, where the load fails
            given = await asyncio.to_thread(write_given, folder, options.folder / model.digest[:16], name=model.id)
            undoing.push_async_callback(asyncio.to_thread, remove_given, given)
            limit = options.limits.cache_tokens
            context_tokens = min(given.context_tokens or limit, limit, options.cache_tokens)
            served = Served(
                folder=given.folder,
                context_tokens=context_tokens,
                cache_bytes=options.cache_tokens * weights.token_bytes,
            )
            if not options.urls:
                server = VllmServer(model.id, options, files=files, served=served, digest=model.digest)
                await server.start()
            else:
                server = await _found(model, options, files, owner=model.owner or project)
            undoing.push_async_callback(server.close)
            listed = await server.client().models()
            known = [each.context_tokens for each in listed if each.context_tokens]
            version = await server.client().version()
            base = cls(
                server,
                given,
                size=weights.bytes,
                context_tokens=min([context_tokens, *known]),
                fingerprint=f"vllm {version} {options.numeric_format}",
            )
            undoing.pop_all()
            return base

    async def engine(self, model: ModelVersion, adapter_files: Files | None, *, run_chat: ChatRunner) -> VllmEngine:
        """Return the engine of the base, or of an adapter, which is loaded into the server.

        Raises:
            ModelRefused: the adapter is no plain LoRA adapter of this base, or vLLM does not take it.
            DependencyUnavailable: the server does not answer.

        """
        adapter, size, fingerprint = "", 0, self._fingerprint
        if adapter_files is not None:
            folder, base = await adapter_files(), (model.base or model).id
            read = await asyncio.to_thread(LoraAdapter.read, folder, name=model.id, base=base)  # or is refused here
            if read.magnitudes:
                raise ModelRefused(model.id, why="vLLM serves no adapters with use_dora: merge it, or use transformers")
            adapter, size = _name_of(folder), sum(ref.size for ref in model.files.values())
            await self.server.add(adapter, adapter_files, named=model.id)
            fingerprint += " lora"
        async with AsyncExitStack() as undoing:
            if adapter:
                undoing.push_async_callback(self.server.remove, adapter)
            engine = await asyncio.to_thread(  # the tokenizer is written to a file
                VllmEngine,
                self.server,
                self._text,
                name=model.id,
                fingerprint=fingerprint,
                context_tokens=self._context_tokens,
                run_chat=run_chat,
                adapter=adapter,
                adapter_bytes=size,
            )
            undoing.pop_all()
            return engine

    async def aclose(self) -> None:
        """End the server, and remove what it was given of the model."""
        await self.server.close()
        await asyncio.to_thread(remove_given, self._given)


def _name_of(folder: Path) -> str:
    """Return an adapter's name in a server, by its folder, of which each project has one by the digest of the files."""
    return f"adapter-{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}"


async def _found(model: ModelVersion, options: VllmOptions, files: Files, *, owner: str) -> VllmServer:
    """Return the operator's server that has the model; one that does not answer may be the one.

    It names the model's project, too: another one may have a model of the same name.
    """
    served_as = f"{owner}/{model.id.rpartition('/')[2]}"
    failed: TidemillError = ModelRefused(model.id, why="INFERENCE_VLLM_URLS has no address")
    for url in options.urls:
        server = VllmServer(
            model.id, options, files=files, served=None, url=url, served_as=served_as, digest=model.digest
        )
        try:
            await server.start()
        except (ModelRefused, DependencyUnavailable) as error:
            failed = error if isinstance(failed, ModelRefused) else failed
        else:
            return server
    raise failed
