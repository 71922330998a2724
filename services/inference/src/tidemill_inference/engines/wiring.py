"""Puts the engines together."""

import shlex
from dataclasses import dataclass, replace

import grpc

from tidemill_core.origins import AllowedHosts
from tidemill_inference.engines.chat_prompts import BoundedChat
from tidemill_inference.engines.grammars import BoundedGrammars
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.loading import EngineOptions
from tidemill_inference.engines.pool import LoadedEngines
from tidemill_inference.engines.ports import Identified, LiveModels
from tidemill_inference.engines.remote import Keys, RemoteEngines, RemoteOptions
from tidemill_inference.engines.trainer import TrainerModels
from tidemill_inference.engines.vllm.options import VllmOptions
from tidemill_inference.engines.warm_up import WarmUp
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.grants import Shared
from tidemill_kit.models import bounded_tokenizers
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.service.app import Dependency
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What runs models, and the registry that has them."""

    pool: LoadedEngines
    remote: RemoteEngines
    models: TrainerModels
    warm_up: WarmUp


def vllm_options(settings: InferenceSettings, limits: EngineLimits) -> VllmOptions:
    """Return how vLLM is run."""
    return VllmOptions(
        folder=settings.data_dir / "vllm",
        numeric_format=computed_format(settings.numeric_format),
        python=settings.vllm_python,
        urls=settings.vllm_urls,
        key=settings.vllm_api_key,
        limits=limits,
        cache_tokens=settings.vllm_cache_tokens,
        adapters=settings.vllm_adapters,
        adapter_rank=settings.vllm_adapter_rank,
        threads=settings.engine_threads,
        start_s=settings.vllm_start_s,
        stall_s=settings.vllm_stall_s,
        log_bytes=settings.vllm_log_bytes,
        arguments=shlex.split(settings.vllm_arguments),
    )


def wire_engines(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    trainer: grpc.aio.Channel,
    live: LiveModels,
    chat_processes: BoundedProcesses,
    keys: Keys,
    identified: Identified,
) -> EngineParts:
    """Return the engines; `keys` has those of remote models, `identified` gets what their answers say of themselves."""
    tokenizers = BoundedProcesses(settings.tokenizer_limits, "tokenizers", bounded_tokenizers.IMPORTS)
    backend.on_stop(tokenizers.stop)
    before = LoadedBefore(settings.data_dir / "loaded.json")
    limits = EngineLimits(
        cache_tokens=settings.engine_cache_tokens,
        batch=settings.engine_batch,
        step_tokens=settings.engine_step_tokens,
        candidates=settings.engine_candidates,
    )
    options = EngineOptions(
        numeric_format=computed_format(settings.numeric_format),
        memory_bytes=settings.engine_memory_mb * _MB,
        run_chat=BoundedChat(
            chat_processes,
            BoundedTokenizers(tokenizers),
            BoundedGrammars(chat_processes, max_bytes=settings.grammar_max_bytes),
        ),
        limits=limits,
        adapter_limits=replace(limits, cache_tokens=settings.engine_adapter_cache_tokens),
        threads=SharedThreads(settings.engine_threads),
        before=before,
        idle_s=settings.engine_idle_s,
        engine=settings.engine,
        vllm=vllm_options(settings, limits),
    )
    remote = RemoteOptions(
        allowed=AllowedHosts.of(settings.remote_hosts),
        stall_s=settings.remote_stall_s,
        max_clients=settings.remote_clients,
    )
    cache = ArtifactCache(settings.data_dir, backend.bucket(settings.model_bucket))
    clients = RemoteEngines(keys, remote)
    pool = LoadedEngines(cache, clients, live, options, identified=identified)
    backend.dependencies.append(Dependency(name="engine", probe=pool.probe, needed_to_start=False))
    models = TrainerModels(
        trainer,
        timeout_s=settings.call_timeout_s,
        recheck_s=settings.remote_recheck_s,
        shared=backend.shared(Shared.MODEL),
    )
    return EngineParts(
        pool=pool,
        remote=clients,
        models=models,
        warm_up=WarmUp(models, pool, first=before.read),
    )
