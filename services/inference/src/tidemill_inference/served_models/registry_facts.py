"""What the registry's files say of a model: small ones, and its tokenizer, read once, without loading the model."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from cachetools import LRUCache

from tidemill_core.application import Caller
from tidemill_inference.engines.ports import Capability, ModelVersion
from tidemill_inference.served_models.domain.served_model import DeclaredModel
from tidemill_kit.store.objects import ExchangeBucket

_CONFIG = "config.json"
_TEMPLATE, _TOKENIZER_CONFIG, _TOKENIZER = "chat_template.jinja", "tokenizer_config.json", "tokenizer.json"
_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_TOKENIZER_BYTES = 32 * 1024 * 1024
_REMEMBERED = 1000
_NAMES = ("max_position_embeddings", "n_positions")

Declares = Callable[[str, str], frozenset[Capability]]
"""Returns what an engine can do with a model, by its chat template and the decoder of its tokenizer."""


class RegistryFacts:
    """Implements `ports.ModelFacts`; a version never changes, so that each is read once."""

    def __init__(
        self, bucket: ExchangeBucket, *, cache_tokens: int, adapter_cache_tokens: int, declares: Declares
    ) -> None:
        """Prepare; the cache of the engine bounds what a model takes, and an adapter has one of its own."""
        self._bucket = bucket
        self._cache_tokens = cache_tokens
        self._adapter_cache_tokens = adapter_cache_tokens
        self._declares = declares
        self._known: LRUCache[str, DeclaredModel] = LRUCache(_REMEMBERED)
        self._reading = asyncio.Lock()

    async def declared(self, _caller: Caller, model: ModelVersion) -> DeclaredModel:
        """See `ModelFacts.declared`. Of a remote model its endpoint alone knows the context, and it gets everything."""
        base = model.base or model
        if base.remote is not None:
            return DeclaredModel(capabilities=frozenset(Capability))
        known = self._known.get(base.digest) or await self._read(base)
        limit = self._adapter_cache_tokens if model.base else self._cache_tokens
        return DeclaredModel(
            context_tokens=known.context_tokens and min(known.context_tokens, limit), capabilities=known.capabilities
        )

    async def _read(self, base: ModelVersion) -> DeclaredModel:
        """Read the files of one model at a time: a tokenizer's may be long."""
        async with self._reading:
            if (known := self._known.get(base.digest)) is None:
                context, capabilities = await self._context_tokens(base), await self._capabilities(base)
                known = self._known[base.digest] = DeclaredModel(context_tokens=context, capabilities=capabilities)
        return known

    async def _context_tokens(self, model: ModelVersion) -> int | None:
        return _context_tokens(await self._json(model, _CONFIG, max_bytes=_MAX_CONFIG_BYTES))

    async def _capabilities(self, model: ModelVersion) -> frozenset[Capability] | None:
        tokenizer = await self._json(model, _TOKENIZER, max_bytes=_MAX_TOKENIZER_BYTES)
        template = await self._template(model)
        if not isinstance(tokenizer, dict) or template is None:
            return None
        return self._declares(template, json.dumps(tokenizer.get("decoder")))

    async def _template(self, model: ModelVersion) -> str | None:
        if (written := await self._file(model, _TEMPLATE, max_bytes=_MAX_CONFIG_BYTES)) is not None:
            return written.decode(errors="replace")
        config = await self._json(model, _TOKENIZER_CONFIG, max_bytes=_MAX_CONFIG_BYTES)
        return _default_template(config.get("chat_template")) if isinstance(config, dict) else None

    async def _json(self, model: ModelVersion, name: str, *, max_bytes: int) -> Any:  # noqa: ANN401 - any JSON
        """Return what a file says, None where it is no JSON; a tokenizer's is long, and is read in a thread."""
        if (written := await self._file(model, name, max_bytes=max_bytes)) is None:
            return None
        try:
            return await asyncio.to_thread(json.loads, written)
        except (ValueError, RecursionError):
            return None

    async def _file(self, model: ModelVersion, name: str, *, max_bytes: int) -> bytes | None:
        ref = model.files.get(name)
        return None if ref is None or ref.size > max_bytes else await self._bucket.get(ref)


def _default_template(template: object) -> str | None:
    """Return the template for conversations; some models have several, by name."""
    if isinstance(template, list):
        template = next(
            (each.get("template") for each in template if isinstance(each, dict) and each.get("name") == "default"),
            None,
        )
    return template if isinstance(template, str) else None


def _context_tokens(config: object) -> int | None:
    """Return what a model's configuration declares; that of a model of several kinds of input has it one level down."""
    if not isinstance(config, dict):
        return None
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    found = (part.get(name) for part in parts for name in _NAMES)
    return next((each for each in found if type(each) is int and each > 0), None)
