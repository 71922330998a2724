"""What ingest says of sources and their profiles."""

from typing import Any

from tidemill.ingest.v1 import profile_service_pb2 as pb
from tidemill.ingest.v1.profile_pb2 import (
    Balance,
    CategoryColumn,
    CategoryCount,
    ColumnShift,
    NumberColumn,
    Profile,
    ProfileDay,
    ProfilePeriod,
)
from tidemill.rag.v1.topic_service_pb2 import GetTopicsResponse

ODD = "metadata.<script>alert(1)</script>"


def profile(count: int = 40) -> Profile:
    return Profile(
        count=count,
        distinct_texts=count / 2,
        distinct_documents=count,
        days=[ProfileDay(day="2026-11-28", count=count)],
        numbers=[NumberColumn(name="characters", count=count, mean=120.5, quantiles=range(100, 141), outliers=3)],
        balances=[
            Balance(name="end_user", count=count, groups=9, largest_share=0.5, effective_number=3.5),
            Balance(name="language", count=count, groups=2, largest_share=0.75, effective_number=1.75),
        ],
        categories=[
            CategoryColumn(
                name="language",
                exclusive=True,
                counts=[CategoryCount(name="en", count=30), CategoryCount(name="de", count=10)],
            ),
            CategoryColumn(name="fields", counts=[CategoryCount(name=ODD, count=7)]),
            CategoryColumn(name="identifiers", counts=[CategoryCount(name=f"kind_{n}", count=9) for n in range(20)]),
        ],
    )


class ProfileAnswers:
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[pb.GetSourceProfileRequest] = []

    def answers(self) -> dict[str, Any]:
        return {
            "ingest.v1.profile_service:GetSourceProfile": self._profile,
            "rag.v1.topic_service:GetTopics": lambda _: GetTopicsResponse(),
            "ingest.v1.profile_service:GetDatasetProfile": lambda request: pb.GetDatasetProfileResponse(
                profile=profile(), version="helpdesk_sft@2", baseline=profile(20), baseline_version=request.baseline
            ),
        }

    def _profile(self, request: pb.GetSourceProfileRequest) -> pb.GetSourceProfileResponse:
        self.asked.append(request)
        period = ProfilePeriod(first_day="2026-11-01", last_day="2026-11-30")
        reply = pb.GetSourceProfileResponse(profile=profile(), period=period)
        if request.HasField("baseline"):
            reply.baseline.CopyFrom(profile(20))
            reply.baseline_period.CopyFrom(ProfilePeriod(first_day="2026-10-01", last_day="2026-10-31"))
            shift = ColumnShift(column="language", test="chi_square", effect=0.31, adjusted_p_value=0.004, shifted=True)
            reply.shifts.append(shift)
        return reply
