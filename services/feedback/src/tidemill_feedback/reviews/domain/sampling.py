"""Which answers become items of a queue by themselves."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from tidemill_feedback.reviews.domain.queue import DEFAULT_BELOW, ReviewQueue, ReviewSampling, SamplingStrategy

_PROPER_ENDS = frozenset({"", "stop", "tool_calls"})
_SCALE = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """What is known of a completed answer, without its text."""

    inference: str
    deployment: str
    end_user: str
    documents: tuple[str, ...] = ()
    """Those whose passages it was given."""
    stratum: str = ""
    """The configuration that answered."""
    support: float | None = None
    """The share of its sentences that its sources support; None without sources."""
    finish_reason: str = ""
    live: bool = True
    answered_at: datetime


def selects(queue: ReviewQueue, answer: RecordedAnswer) -> bool:
    """Return whether the queue samples an answer, if it is not full."""
    sampling = queue.spec.sampling
    if sampling is None or queue.spec.paused or not answer.live or sampling.deployment != answer.deployment:
        return False
    if sampling.strategy is SamplingStrategy.UNCERTAIN and not _uncertain(sampling, answer):
        return False
    return takes_share(queue, answer.inference)


def selects_rated(queue: ReviewQueue, *, deployment: str, inference: str, rating: float) -> bool:
    """Return whether the queue samples an answer because it was rated low."""
    sampling = queue.spec.sampling
    if sampling is None or queue.spec.paused or sampling.deployment != deployment:
        return False
    if sampling.strategy is not SamplingStrategy.UNCERTAIN or rating >= (sampling.rating_below or DEFAULT_BELOW):
        return False
    return takes_share(queue, inference)


def takes_share(queue: ReviewQueue, inference: str) -> bool:
    """Return whether an answer is in the share that the queue takes: always the same answers."""
    sampling = queue.spec.sampling
    return sampling is not None and (not sampling.share or fraction_of(queue.key, inference) < sampling.share)


def fraction_of(*parts: str) -> float:
    """Return a number from 0 up to 1 that the parts name, as good as random."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / _SCALE


def _uncertain(sampling: ReviewSampling, answer: RecordedAnswer) -> bool:
    weak = answer.support is not None and answer.support < (sampling.support_below or DEFAULT_BELOW)
    return weak or answer.finish_reason not in _PROPER_ENDS
