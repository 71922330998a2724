"""Puts the cache of answers together."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_inference.caching.count import CountSavings, ReadSavings, RemoveOldSavings
from tidemill_inference.caching.expire import RemoveExpired
from tidemill_inference.caching.mongo import MongoCachedAnswers, MongoSavings
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingParts:
    """What gives answers again, what removes those that have expired, and what was saved."""

    reuse: ReuseAnswers
    expired: RemoveExpired
    savings: CountSavings
    read_savings: ReadSavings
    old_savings: RemoveOldSavings


def wire_caching(settings: InferenceSettings, backend: Backend, *, inferences: Inferences) -> CachingParts:
    """Return the cache; the answers are in `inferences`."""
    clock, cached = SystemClock(), backend.indexed(MongoCachedAnswers(backend.database["cached_answers"]))
    store = backend.indexed(MongoSavings(backend.database["cache_savings"]))
    savings = CountSavings(store=store, clock=clock)
    return CachingParts(
        reuse=ReuseAnswers(
            cached=cached,
            inferences=inferences,
            clock=clock,
            max_entries=settings.max_cached_answers,
            count=savings.add,
        ),
        expired=RemoveExpired(cached=cached, clock=clock),
        savings=savings,
        read_savings=ReadSavings(store=store, clock=clock),
        old_savings=RemoveOldSavings(store=store, clock=clock),
    )
