"""A flood of refused calls costs a few records."""

import pytest

from tidemill_core.application import Caller
from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.refusals import MAX_COUNTS, PER_MINUTE, Refusals


def refused(project: str = "acme", subject: str = "user:ada", method: str = "m") -> AuditedCall:
    caller = Caller(project=project, subject=subject)
    return AuditedCall(method=method, caller=caller, code="PERMISSION_DENIED", reason="ROLE_REQUIRED", address="a")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_beyond_the_limit_of_a_minute_they_are_counted_in_one_record() -> None:
    refusals = Refusals(now=Clock())
    assert sum(refusals.has_own_record(refused()) for _ in range(PER_MINUTE + 500)) == PER_MINUTE
    (counted,) = refusals.counted()
    assert (counted.count, counted.caller.subject, counted.address) == (500, "user:ada", "")
    assert refusals.counted() == []


def test_a_minute_later_there_are_records_again() -> None:
    clock = Clock()
    refusals = Refusals(now=clock)
    for _ in range(PER_MINUTE):
        refusals.has_own_record(refused())
    clock.seconds = 1.0
    assert [refusals.has_own_record(refused()) for _ in range(2)] == [True, False]


def test_one_subject_s_flood_takes_no_record_from_others() -> None:
    refusals = Refusals(now=Clock())
    for _ in range(PER_MINUTE + 1):
        refusals.has_own_record(refused())
    assert refusals.has_own_record(refused(subject="user:eve"))
    assert refusals.has_own_record(refused(project="globex"))


def test_a_call_without_a_proven_caller_is_only_counted() -> None:
    refusals = Refusals(now=Clock())
    assert not any(refusals.has_own_record(refused(project="", subject="")) for _ in range(3))
    assert [each.count for each in refusals.counted()] == [3]


@pytest.mark.heavy
def test_the_number_of_counts_is_bounded() -> None:
    refusals = Refusals(now=Clock())
    for number in range(MAX_COUNTS + 50):
        caller = f"user:{number}"
        for _ in range(PER_MINUTE + 1):
            refusals.has_own_record(refused(subject=caller))
    counts = refusals.counted()
    assert len(counts) == MAX_COUNTS + 1
    assert [(each.caller.subject, each.count) for each in counts][-1] == ("", 50)
