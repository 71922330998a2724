"""What clients are shown of the limits that apply to their call, as OpenAI does in headers of its answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidemill_inference.budgets.domain.budget import Kind

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """One limit: the one of its kind with the smallest share left."""

    limit: int
    remaining: int
    reset_time: datetime


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Those of requests and tokens."""

    limits: Mapping[Kind, RateLimit]
    at: datetime
    """When they were so."""

    def headers(self) -> Iterator[tuple[str, str]]:
        """Yield the headers that OpenAI's clients read."""
        for kind in (Kind.REQUESTS, Kind.TOKENS):
            if (limit := self.limits.get(kind)) is not None:
                yield f"x-ratelimit-limit-{kind.value}", str(limit.limit)
                yield f"x-ratelimit-remaining-{kind.value}", str(max(0, limit.remaining))
                yield f"x-ratelimit-reset-{kind.value}", span(max(0.0, (limit.reset_time - self.at).total_seconds()))


def span(seconds: float) -> str:
    """Return a span of time as OpenAI writes it, such as `6m0s`."""
    left = max(1, round(seconds))
    days, left = divmod(left, _DAY_S)
    hours, left = divmod(left, _HOUR_S)
    minutes, left = divmod(left, _MINUTE_S)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    return "".join([*parts, f"{left}s"])
