"""Profiles: what the contract's messages mean inside, where names differ."""

from datetime import date

from tidemill.ingest.v1 import profile_pb2, profile_service_pb2
from tidemill_core.errors import InvalidInput
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.profile import Profile
from tidemill_ingest.profiles.domain.shift import SIGNIFICANCE
from tidemill_ingest.profiles.profile_datasets import DatasetComparison
from tidemill_ingest.profiles.read_profiles import Comparison
from tidemill_kit.mapping import to_message


def period_of(message: profile_pb2.ProfilePeriod, *, today: date, field: str) -> Period:
    """Return the period that a caller names.

    Raises:
        InvalidInput: it is none.

    """
    return Period.of(message.first_day, message.last_day, today=today, field=field)


def significance_of(given: float) -> float:
    """Return the level of significance that a caller names, 0 being the default.

    Raises:
        InvalidInput: it is none.

    """
    if not 0 <= given < 1:
        raise InvalidInput.at(field="significance", text=f"is {given}; send a number between 0 and 1, such as 0.05")
    return given or SIGNIFICANCE


def profile_message(profile: Profile) -> profile_pb2.Profile:
    """Return the message of a profile."""
    days = [profile_pb2.ProfileDay(day=each.day.isoformat(), count=each.count) for each in profile.days]
    return to_message(profile_pb2.Profile, profile, days=days)


def source_profile_message(
    comparison: Comparison, period: Period, baseline: Period | None
) -> profile_service_pb2.GetSourceProfileResponse:
    """Return the message of a profile with its baseline."""
    return to_message(
        profile_service_pb2.GetSourceProfileResponse,
        comparison,
        profile=profile_message(comparison.profile),
        period=_period_message(period),
        baseline=profile_message(comparison.baseline) if comparison.baseline else None,
        baseline_period=_period_message(baseline) if baseline else None,
    )


def dataset_profile_message(found: DatasetComparison) -> profile_service_pb2.GetDatasetProfileResponse:
    """Return the message of a version's profile with its baseline."""
    comparison = found.comparison
    return to_message(
        profile_service_pb2.GetDatasetProfileResponse,
        comparison,
        profile=profile_message(comparison.profile),
        version=found.version,
        baseline=profile_message(comparison.baseline) if comparison.baseline else None,
        baseline_version=found.baseline,
    )


def _period_message(period: Period) -> profile_pb2.ProfilePeriod:
    return profile_pb2.ProfilePeriod(first_day=period.first.isoformat(), last_day=period.last.isoformat())
