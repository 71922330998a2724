"""Puts the cache of answers together."""

from dataclasses import dataclass
from datetime import timedelta

import grpc

from tidemill_core.application import SystemClock
from tidemill_inference.caching.count import CountSavings, ReadSavings, RemoveOldSavings
from tidemill_inference.caching.expire import RemoveExpired
from tidemill_inference.caching.mongo import MongoCachedAnswers, MongoSavings
from tidemill_inference.caching.ports import SimilarQuestions
from tidemill_inference.caching.rag import RagSimilarQuestions
from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.caching.similar import CompareQuestions
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingParts:
    """What gives answers again, what removes those that have expired, and what was saved."""

    reuse: ReuseAnswers
    expired: RemoveExpired
    questions: SimilarQuestions
    savings: CountSavings
    read_savings: ReadSavings
    old_savings: RemoveOldSavings


def wire_caching(
    settings: InferenceSettings, backend: Backend, *, inferences: Inferences, rag: grpc.aio.Channel
) -> CachingParts:
    """Return the cache; the answers are in `inferences`, and the vectors of their questions at rag."""
    clock, cached = SystemClock(), backend.indexed(MongoCachedAnswers(backend.database["cached_answers"]))
    store = backend.indexed(MongoSavings(backend.database["cache_savings"]))
    savings = CountSavings(store=store, clock=clock)
    questions = RagSimilarQuestions(rag, timeout_s=settings.embedding_timeout_s)
    return CachingParts(
        questions=questions,
        reuse=ReuseAnswers(
            cached=cached,
            inferences=inferences,
            clock=clock,
            max_entries=settings.max_cached_answers,
            count=savings.add,
            entry_max_age=timedelta(seconds=settings.configuration_max_age_s),
            comparing=CompareQuestions(
                questions=questions, inferences=inferences, timeout_s=settings.similar_timeout_s
            ),
        ),
        expired=RemoveExpired(cached=cached, clock=clock),
        savings=savings,
        read_savings=ReadSavings(store=store, clock=clock),
        old_savings=RemoveOldSavings(store=store, clock=clock),
    )
