"""Read the profile of a source."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from tidemill_core.application import Caller
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.profile import Profile, merged, profile_of
from tidemill_ingest.profiles.domain.shift import ColumnShift, shifts
from tidemill_ingest.profiles.domain.sketch import Sketch
from tidemill_ingest.profiles.ports import Sketches
from tidemill_ingest.sources.ports import Sources

Decode = Callable[[], Sequence[tuple[date, Sketch]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A profile, and how it differs from its baseline where there is one."""

    profile: Profile
    baseline: Profile | None = None
    shifts: tuple[ColumnShift, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProfiles:
    """Reads one row a day, 400 of a period at most."""

    sources: Sources
    sketches: Sketches

    async def of_source(
        self, caller: Caller, source: str, period: Period, *, baseline: Period | None, significance: float
    ) -> Comparison:
        """Return what came into a source in a period, compared with the baseline.

        Raises:
            SourceNotFound: the caller's project has no such source.

        """
        await self.sources.get(caller.project, source)
        of_period = await self.sketches.of_period(caller.project, source, period)
        of_baseline = await self.sketches.of_period(caller.project, source, baseline) if baseline else None
        return await asyncio.to_thread(_compared, of_period, of_baseline, significance)


def _compared(of_period: Decode, of_baseline: Decode | None, significance: float) -> Comparison:
    sketch, days = merged(of_period())
    profile = profile_of(sketch, days)
    if of_baseline is None:
        return Comparison(profile=profile)
    before, days_before = merged(of_baseline())
    return Comparison(
        profile=profile,
        baseline=profile_of(before, days_before),
        shifts=shifts(before, sketch, significance=significance),
    )
