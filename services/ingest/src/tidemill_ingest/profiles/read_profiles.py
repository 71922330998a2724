"""Read the profile of a source."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from tidemill_core.application import Caller
from tidemill_ingest.labels.domain import values_of
from tidemill_ingest.labels.ports import MAX_COUNTED, Labels
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.profile import (
    OF_SOURCES,
    Columns,
    Profile,
    ProfileDay,
    label_columns,
    merged,
    profile_of,
)
from tidemill_ingest.profiles.domain.shift import ColumnShift, shifts
from tidemill_ingest.profiles.domain.sketch import Sketch
from tidemill_ingest.profiles.ports import Sketches
from tidemill_ingest.sources.ports import Sources

Side = tuple[Sketch, tuple[ProfileDay, ...]]
"""What is compared, with how much of it is of each day."""
Decode = Callable[[], Sequence[tuple[date, Sketch]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A profile, and how it differs from its baseline where there is one."""

    profile: Profile
    baseline: Profile | None = None
    shifts: tuple[ColumnShift, ...] = ()

    @classmethod
    def of(cls, one: Side, before: Side | None, *, significance: float, columns: Columns = OF_SOURCES) -> Self:
        """Return the profile of one side, with how it differs from the other where there is one; blocks."""
        profile = profile_of(*one, columns=columns)
        if before is None:
            return cls(profile=profile)
        baseline = profile_of(*before, columns=columns)
        shifted = shifts(before[0], one[0], significance=significance, columns=columns)
        return cls(profile=profile, baseline=baseline, shifts=shifted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProfiles:
    """Reads one row a day, 400 of a period at most."""

    sources: Sources
    sketches: Sketches
    labels: Labels

    async def of_source(
        self, caller: Caller, source: str, period: Period, *, baseline: Period | None, significance: float
    ) -> Comparison:
        """Return what came into a source in a period, compared with the baseline, and its labels as they are now.

        Raises:
            SourceNotFound: the caller's project has no such source.

        """
        await self.sources.get(caller.project, source)
        of_period = await self.sketches.of_period(caller.project, source, period)
        of_baseline = await self.sketches.of_period(caller.project, source, baseline) if baseline else None
        comparison = await asyncio.to_thread(_compared, of_period, of_baseline, significance)
        labels = await self.labels.of_source(caller.project, source, limit=MAX_COUNTED)
        columns = await asyncio.to_thread(label_columns, ((each.subject, values_of([each])) for each in labels))
        earlier = comparison.baseline and comparison.baseline.with_columns(label_columns(()))
        return replace(comparison, profile=comparison.profile.with_columns(columns), baseline=earlier)


def _compared(of_period: Decode, of_baseline: Decode | None, significance: float) -> Comparison:
    return Comparison.of(merged(of_period()), merged(of_baseline()) if of_baseline else None, significance=significance)
