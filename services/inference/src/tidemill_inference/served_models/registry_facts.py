"""What the registry's files say of a model: small ones, read once, without loading it."""

import json
from collections import OrderedDict

from tidemill_core.application import Caller
from tidemill_inference.engines.ports import ModelVersion
from tidemill_kit.store.objects import ExchangeBucket

_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 1024 * 1024
_REMEMBERED = 1000
_NAMES = ("max_position_embeddings", "n_positions")


class RegistryFacts:
    """Implements `ports.ModelFacts`; a version never changes, so that each is read once."""

    def __init__(self, bucket: ExchangeBucket, *, cache_tokens: int, adapter_cache_tokens: int) -> None:
        """Prepare; the cache of the engine bounds what a model takes, and an adapter has one of its own."""
        self._bucket = bucket
        self._cache_tokens = cache_tokens
        self._adapter_cache_tokens = adapter_cache_tokens
        self._known: OrderedDict[str, int | None] = OrderedDict()

    async def context_tokens(self, _caller: Caller, model: ModelVersion) -> int | None:
        """See `ModelFacts.context_tokens`. Of a remote model its endpoint alone knows."""
        base = model.base or model
        if base.remote is not None:
            return None
        if base.digest not in self._known:
            self._known[base.digest] = await self._read(base)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        declared = self._known[base.digest]
        return declared and min(declared, self._adapter_cache_tokens if model.base else self._cache_tokens)

    async def _read(self, model: ModelVersion) -> int | None:
        ref = model.files.get(_CONFIG)
        if ref is None or ref.size > _MAX_CONFIG_BYTES:
            return None
        try:
            config = json.loads(await self._bucket.get(ref))
        except ValueError:
            return None
        return _context_tokens(config)


def _context_tokens(config: object) -> int | None:
    """Return what a model's configuration declares; that of a model of several kinds of input has it one level down."""
    if not isinstance(config, dict):
        return None
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    found = (part.get(name) for part in parts for name in _NAMES)
    return next((each for each in found if type(each) is int and each > 0), None)
