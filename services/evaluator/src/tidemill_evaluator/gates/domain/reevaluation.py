"""When what a gate has let go live is evaluated again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.errors import Violation

MIN_EVERY, MAX_EVERY = timedelta(hours=1), timedelta(days=366)
NEVER = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reevaluate:
    """When a gate's re-evaluations are: by a schedule, where `every` is not NEVER, and after changes of a provider."""

    every: timedelta = NEVER
    on_provider_change: bool = False


def reevaluate_violations(reevaluate: Reevaluate | None, field: str, *, of_index: bool) -> Iterator[Violation]:
    """Return what breaks a rule; `of_index` are gates of index versions."""
    if reevaluate is None:
        return
    if of_index:
        yield Violation(field, "is for gates of a model or a prompt: leave it out, or the collection")
    only_changes = reevaluate.on_provider_change and reevaluate.every == NEVER
    if not only_changes and not MIN_EVERY <= reevaluate.every <= MAX_EVERY:
        text = f"is {reevaluate.every}: send 1 hour to {MAX_EVERY.days} days, or leave it out with on_provider_change"
        yield Violation(f"{field}.every", text)
