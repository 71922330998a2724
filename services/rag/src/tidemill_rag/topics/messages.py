"""Topics: what the contract's messages mean inside, where names differ."""

from datetime import date

from tidemill.rag.v1 import topic_pb2
from tidemill.rag.v1 import topic_service_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import from_message, to_message
from tidemill_rag.topics.domain import Asked, Days, Topics


def asked_of(request: pb.GetTopicsRequest, *, principals: tuple[str, ...]) -> Asked:
    """Return what a request asks for.

    Raises:
        InvalidInput: a day is none, or a period has none.

    """
    return from_message(
        Asked,
        request,
        principals=principals,
        period=_days(request.period, field="period") if request.HasField("period") else None,
        baseline=_days(request.baseline, field="baseline") if request.HasField("baseline") else None,
    )


def topics_message(topics: Topics) -> pb.GetTopicsResponse:
    """Return the reply."""
    return to_message(pb.GetTopicsResponse, topics)


def _days(period: topic_pb2.TopicPeriod, *, field: str) -> Days:
    days = Days(
        first=_day(period.first_day, field=f"{field}.first_day"), last=_day(period.last_day, field=f"{field}.last_day")
    )
    if days.last < days.first:
        raise InvalidInput.at(field=f"{field}.last_day", text=f"is {days.last}, before the first day, {days.first}")
    return days


def _day(given: str, *, field: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        shown = repr(given) if len(given) <= len("2026-11-29") else f"of {len(given)} characters"
        raise InvalidInput.at(field=field, text=f"is {shown}; use a day such as 2026-11-29") from error
