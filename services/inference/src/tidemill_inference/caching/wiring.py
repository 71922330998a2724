"""Puts the cache of answers together."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_inference.caching.expire import RemoveExpired
from tidemill_inference.caching.mongo import MongoCachedAnswers
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingParts:
    """What gives answers again, and what removes those that have expired."""

    reuse: ReuseAnswers
    expired: RemoveExpired


def wire_caching(settings: InferenceSettings, backend: Backend, *, inferences: Inferences) -> CachingParts:
    """Return the cache; the answers are in `inferences`."""
    clock, cached = SystemClock(), backend.indexed(MongoCachedAnswers(backend.database["cached_answers"]))
    return CachingParts(
        reuse=ReuseAnswers(cached=cached, inferences=inferences, clock=clock, max_entries=settings.max_cached_answers),
        expired=RemoveExpired(cached=cached, clock=clock),
    )
