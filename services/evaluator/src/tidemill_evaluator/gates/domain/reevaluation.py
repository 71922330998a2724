"""When what a gate has let go live is evaluated again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.errors import Violation

MIN_EVERY, MAX_EVERY = timedelta(hours=1), timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reevaluate:
    """The schedule of a gate's re-evaluations."""

    every: timedelta = timedelta(0)


def reevaluate_violations(reevaluate: Reevaluate | None, field: str, *, of_index: bool) -> Iterator[Violation]:
    """Return what breaks a rule; `of_index` are gates of index versions."""
    if reevaluate is None:
        return
    if of_index:
        yield Violation(field, "is for gates of a model or a prompt: leave it out, or the collection")
    if not MIN_EVERY <= reevaluate.every <= MAX_EVERY:
        yield Violation(f"{field}.every", f"is {reevaluate.every}: send 1 hour to {MAX_EVERY.days} days")
