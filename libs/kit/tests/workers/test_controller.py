"""The queue of keys that every worker of a service is: what runs, how often, and what keeps it from running."""

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from libs.kit.tests.workers.support import Name, OneProcess, Work, idle, work
from tidemill_core.application import Requeue
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually


async def test_a_key_is_reconciled_once_however_often_it_is_enqueued_before() -> None:
    async with work() as one:
        for _ in range(10):
            one.controller.enqueue(Name("a"))

        await one.ran("a")
        await idle(one)

        assert one.runs == ["a"]


async def test_a_key_that_is_enqueued_while_it_runs_runs_again_afterwards_and_never_beside_itself() -> None:
    async with work() as one:
        one.hold.clear()
        one.controller.enqueue(Name("a"))
        await one.ran("a")

        one.controller.enqueue(Name("a"))
        one.controller.enqueue(Name("a"))
        await asyncio.sleep(0)
        assert one.controller.status.running == 1
        one.hold.set()

        await one.ran("a", "a")
        await idle(one)
        assert one.runs == ["a", "a"]


async def test_a_key_of_a_deleted_project_is_passed_over_without_a_lease() -> None:
    leases = OneProcess()
    async with work(Name("b", project="gone"), leases=leases, deleted="gone".__eq__) as one:
        one.controller.enqueue(Name("c", project="gone"))
        one.controller.enqueue(Name("a"))

        await one.ran("a")
        await idle(one)

        assert one.runs == ["a"]
        assert leases.epoch == 1


async def test_a_key_that_fails_is_not_retried_at_the_rate_of_events() -> None:
    async with work() as one:
        one.results["a"] = DependencyUnavailable("no answer", dependency="s3")
        one.controller.enqueue(Name("a"))
        await one.ran("a")

        for _ in range(1000):
            one.controller.enqueue(Name("a"))
            await asyncio.sleep(0)

        assert one.runs == ["a"]
        assert one.controller.status.retrying == 1
        del one.results["a"]
        await one.ran("a", "a")
        await idle(one)
        assert one.controller.status.retrying == 0


@pytest.mark.parametrize("error", [DependencyUnavailable("no answer", dependency="s3"), ZeroDivisionError()])
async def test_a_key_that_breaks_is_retried_and_ends_no_other(error: Exception) -> None:
    async with work(poll_interval=timedelta(milliseconds=10)) as one:
        one.results["a"] = error
        with capture_logs() as lines:
            one.controller.enqueue(Name("a"))
            await eventually(lambda: one.runs.count("a") > 2)
            one.controller.enqueue(Name("b"))
            await eventually(lambda: "b" in one.runs)

    failed = [line for line in lines if line["event"] == "reconcile_failed"]
    assert {(line["controller"], line["project"], line["key"]) for line in failed} == {("things", "acme", "a")}


@pytest.mark.parametrize(
    ("key", "logged"),
    [
        ("acme/helpdesk_sft@12", "acme/helpdesk_sft@12"),
        ("acme/why does it rain", "14f9e3bfc2c75e28"),
        ("acme/ada@example.com", "124f2ccaca6d765e"),
    ],
)
async def test_a_key_that_is_no_plain_id_is_logged_by_its_digest(key: str, logged: str) -> None:
    async with work(poll_interval=timedelta(milliseconds=10)) as one:
        one.results[key] = ZeroDivisionError()
        with capture_logs() as lines:
            one.controller.enqueue(Name(key))
            await eventually(lambda: one.runs.count(key) > 1)

    assert {line["key"] for line in lines if line["event"] == "reconcile_failed"} == {logged}


async def test_what_cannot_go_on_is_postponed_and_tried_again() -> None:
    async with work(poll_interval=timedelta(milliseconds=10)) as one:
        one.results["a"] = Requeue()
        with capture_logs() as lines:
            one.controller.enqueue(Name("a"))
            await eventually(lambda: len(one.runs) > 2)
        del one.results["a"]
        await idle(one)

    assert ("reconcile_postponed", "info") in {(line["event"], line["log_level"]) for line in lines}


@pytest.mark.parametrize("error", [DependencyUnavailable("no answer", dependency="mongo"), RuntimeError("why")])
async def test_a_key_that_cannot_be_ranked_is_ranked_again_and_ends_no_other(error: Exception) -> None:
    errors = [error]

    async def rank(key: Name) -> float:
        if key.key == "a" and errors:
            raise errors.pop()
        return 0.0

    async with work(rank=rank, poll_interval=timedelta(milliseconds=10)) as one:
        one.controller.enqueue(Name("a"))
        one.controller.enqueue(Name("b"))
        await one.ran("a", "b")
        await idle(one)

        assert one.runs == ["b", "a"]


async def test_a_key_hands_its_place_on_within_its_project() -> None:
    async with work(max_concurrent=1) as one:
        one.hold.clear()
        one.results["low"] = Requeue(after=timedelta(0), hands_on=True)
        one.controller.enqueue(Name("low"))
        await one.ran("low")
        one.controller.enqueue(Name("other", project="globex"))
        one.controller.enqueue(Name("high"))
        await eventually(lambda: len(one.controller.scheduled) == 3)
        await asyncio.sleep(0)  # both have asked for a place
        one.hold.set()
        await eventually(lambda: len(one.runs) > 2)

        assert one.runs[:3] == ["low", "high", "other"]
        labels = {"controller": "things", "result": "handed_on"}
        assert REGISTRY.get_sample_value("tidemill_controller_runs_total", labels)


async def test_a_key_that_asks_for_it_runs_again_later_and_sooner_when_it_is_enqueued() -> None:
    async with work() as one:
        one.results["a"] = Requeue(after=timedelta(hours=1))
        one.controller.enqueue(Name("a"))
        await one.ran("a")
        await eventually(lambda: one.controller.status.queued == 1)

        one.controller.enqueue(Name("a"))

        await one.ran("a", "a")
        one.results["a"] = Requeue(after=timedelta(milliseconds=1))
        one.controller.enqueue(Name("a"))
        await eventually(lambda: len(one.runs) > 4)


async def test_a_key_runs_once_for_all_events_of_the_debounce_time() -> None:
    async with work(debounce=timedelta(milliseconds=50)) as one:
        one.controller.enqueue(Name("a"))
        await asyncio.sleep(0)
        one.controller.enqueue(Name("a"))
        assert one.runs == []

        await one.ran("a")
        await idle(one)

        assert one.runs == ["a"]


async def test_a_resync_finds_every_page() -> None:
    names = [Name(letter) for letter in "abcde"]
    async with work(*names) as one:
        await one.ran(*"abcde")
        assert [token for token, _ in one.pending.asked] == ["", "b", "d"]


async def test_a_resync_that_fails_is_shown_and_made_again() -> None:
    async with work(poll_interval=timedelta(milliseconds=10)) as one:
        one.pending.error = DependencyUnavailable("no answer", dependency="mongodb")
        with capture_logs() as lines:
            await eventually(lambda: one.controller.status.message == "no answer")
        assert lines[0]["event"] == "resync_failed"

        one.pending.error = None
        one.pending.keys = [Name("a")]

        await eventually(lambda: "a" in one.runs)
        await eventually(lambda: one.controller.status.message == "")


async def test_a_resync_leaves_out_what_runs() -> None:
    async with work(poll_interval=timedelta(milliseconds=10)) as one:
        one.hold.clear()
        one.pending.keys = [Name("a")]
        await one.ran("a")
        seen = len(one.pending.asked)
        await eventually(lambda: len(one.pending.asked) > seen + 3)

        one.pending.keys = []
        one.hold.set()
        await idle(one)

        assert one.runs == ["a"]


async def test_the_keys_of_a_small_project_run_among_those_of_a_busy_one() -> None:
    busy = [Name(f"a{number:03}", "busy") for number in range(300)]
    async with work(*busy, Name("b", "small"), max_concurrent=1) as one:
        await eventually(lambda: "b" in one.runs)

        assert len(one.runs) < 110
        assert any("busy" in without for _, without in one.pending.asked)


async def test_what_a_resync_left_out_is_found_as_soon_as_there_is_space() -> None:
    async with work(*(Name(f"a{number:03}", "busy") for number in range(150))) as one:
        await eventually(lambda: len(set(one.runs)) == 150)


async def test_no_more_keys_run_at_once_than_allowed() -> None:
    async with work(max_concurrent=2) as one:
        one.hold.clear()
        for letter in "abcde":
            one.controller.enqueue(Name(letter, letter))
        await eventually(lambda: one.controller.status.running == 2)
        await asyncio.sleep(0)
        assert one.controller.status.queued == 3
        one.hold.set()
        await one.ran(*"abcde")


async def test_a_controller_that_is_stopped_ends_what_it_runs() -> None:
    async with work() as one:
        one.hold.clear()
        one.controller.enqueue(Name("a"))
        await one.ran("a")

        await one.controller.stop()

        assert one.controller.status.running == 0


async def test_what_is_enqueued_before_the_start_is_reconciled() -> None:
    one = Work()
    one.controller.enqueue(Name("a"))

    await one.controller.start()

    await one.ran("a")
    await one.controller.stop()
