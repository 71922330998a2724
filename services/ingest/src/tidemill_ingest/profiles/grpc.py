"""ProfileService."""

from tidemill.ingest.v1 import profile_service_pb2 as pb
from tidemill.ingest.v1 import profile_service_pb2_grpc
from tidemill_core.application import Clock
from tidemill_ingest.profiles.messages import (
    dataset_profile_message,
    period_of,
    significance_of,
    source_profile_message,
)
from tidemill_ingest.profiles.profile_datasets import ProfileDatasets
from tidemill_ingest.profiles.read_profiles import ReadProfiles
from tidemill_kit.grpc.server import current_caller


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """Message -> use case -> message."""

    def __init__(self, profiles: ReadProfiles, *, datasets: ProfileDatasets, clock: Clock) -> None:
        self._profiles = profiles
        self._datasets = datasets
        self._clock = clock

    async def GetSourceProfile(
        self, request: pb.GetSourceProfileRequest, _context: object
    ) -> pb.GetSourceProfileResponse:
        """See the contract."""
        today = self._clock.now().date()
        period = period_of(request.period, today=today, field="period")
        has_baseline = request.HasField("baseline")
        baseline = period_of(request.baseline, today=today, field="baseline") if has_baseline else None
        comparison = await self._profiles.of_source(
            current_caller(),
            request.source,
            period,
            baseline=baseline,
            significance=significance_of(request.significance),
        )
        return source_profile_message(comparison, period, baseline)

    async def GetDatasetProfile(
        self, request: pb.GetDatasetProfileRequest, _context: object
    ) -> pb.GetDatasetProfileResponse:
        """See the contract."""
        significance = significance_of(request.significance)
        found = await self._datasets(
            current_caller(), request.version, baseline=request.baseline, significance=significance
        )
        return dataset_profile_message(found)
