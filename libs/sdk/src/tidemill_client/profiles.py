"""Profiles: counts and distributions of what came into a source, and of what a dataset version consists of."""

from dataclasses import dataclass
from datetime import date

from tidemill.ingest.v1.profile_pb2 import ProfilePeriod
from tidemill.ingest.v1.profile_service_pb2 import (
    GetDatasetProfileRequest,
    GetDatasetProfileResponse,
    GetSourceProfileRequest,
    GetSourceProfileResponse,
)
from tidemill_client.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """A run of days (UTC), both ends included; without `first` it is 30 days, without `last` it ends today."""

    first: date | None = None
    last: date | None = None

    @property
    def message(self) -> ProfilePeriod:
        """Return it as the contract has it."""
        first, last = (each.isoformat() if each else "" for each in (self.first, self.last))
        return ProfilePeriod(first_day=first, last_day=last)


class Profiles:
    """The profiles of a project's sources and datasets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of_source(
        self, source: str, days: Days | None = None, *, baseline: Days | None = None, significance: float = 0.05
    ) -> GetSourceProfileResponse:
        """Return the profile of some days, by default the last 30, and how it differs from that of the baseline."""
        request = GetSourceProfileRequest(
            source=source,
            period=(days or Days()).message,
            baseline=baseline.message if baseline else None,
            significance=significance,
        )
        return await self._connection.profiles.GetSourceProfile(request)

    async def of_dataset(
        self, version: str, *, baseline: str = "", significance: float = 0.05
    ) -> GetDatasetProfileResponse:
        """Return the profile of `dataset@number`, or of the newest, and how it differs from the baseline."""
        request = GetDatasetProfileRequest(version=version, baseline=baseline, significance=significance)
        return await self._connection.profiles.GetDatasetProfile(request)
