"""What the leases of a controller keep from running, and what is kept between runs."""

from datetime import timedelta

from structlog.testing import capture_logs

from libs.kit.tests.workers.support import Name, OneProcess, idle, work
from tidemill_core.application import Requeue
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually


async def test_each_run_has_the_epoch_of_its_lease() -> None:
    async with work(leases=OneProcess()) as one:
        one.controller.enqueue(Name("a"))
        await one.ran("a")
        one.controller.enqueue(Name("b"))
        await one.ran("a", "b")

        assert one.epochs == [1, 2]


async def test_a_key_that_another_process_holds_is_left_to_it_and_tried_again() -> None:
    leases = OneProcess()
    leases.elsewhere.add("a")
    async with work(leases=leases, poll_interval=timedelta(milliseconds=10)) as one:
        one.controller.enqueue(Name("a"))
        await eventually(lambda: one.controller.status.retrying == 1)
        assert one.runs == []

        leases.elsewhere.clear()

        await one.ran("a")


async def test_a_key_whose_lease_is_lost_is_postponed() -> None:
    leases = OneProcess()
    leases.lost.add("a")
    async with work(leases=leases, poll_interval=timedelta(milliseconds=10)) as one:
        with capture_logs() as lines:
            one.controller.enqueue(Name("a"))
            await eventually(lambda: len(one.runs) > 1)
        leases.lost.clear()
        await idle(one)

    assert {line["event"] for line in lines} == {"reconcile_postponed"}


async def test_keys_that_keep_their_leases_give_their_place_to_others_between_their_runs() -> None:
    leases = OneProcess()
    async with work(leases=leases, max_concurrent=1) as one:
        for name in "abc":
            one.results[name] = Requeue(after=timedelta(milliseconds=1), keep_lease=True)
            one.controller.enqueue(Name(name))
        await eventually(lambda: all(one.runs.count(name) > 3 for name in "abc"))

        assert leases.held_now == {"a", "b", "c"}
        assert {one.epochs[number] for number, name in enumerate(one.runs) if name == "a"} == {1}
        assert set(one.epochs) == {1, 2, 3}

        one.controller.enqueue(Name("d"))
        await eventually(lambda: "d" in one.runs)
        for name in "abc":
            one.results.pop(name)
        await idle(one)
        assert leases.held_now == set()


async def test_a_key_that_keeps_its_lease_runs_sooner_when_it_is_enqueued_also_while_it_runs() -> None:
    async with work(leases=OneProcess()) as one:
        one.results["a"] = Requeue(after=timedelta(hours=1), keep_lease=True)
        one.controller.enqueue(Name("a"))
        await one.ran("a")
        await eventually(lambda: one.controller.status.running == 0)
        one.hold.clear()
        one.controller.enqueue(Name("a"))
        await one.ran("a", "a")

        one.controller.enqueue(Name("a"))
        one.hold.set()

        await one.ran("a", "a", "a")
        assert one.epochs == [1, 1, 1]


async def test_a_controller_that_is_stopped_releases_the_leases_that_are_kept() -> None:
    leases = OneProcess()
    async with work(leases=leases) as one:
        one.results["a"] = Requeue(after=timedelta(hours=1), keep_lease=True)
        one.controller.enqueue(Name("a"))
        await one.ran("a")
        await eventually(lambda: one.controller.status.running == 0)
        assert leases.held_now == {"a"}

        await one.controller.stop()

        assert leases.held_now == set()


async def test_a_lease_that_is_lost_while_it_is_kept_is_left_to_its_new_holder_and_then_begun_anew() -> None:
    leases = InMemoryLeases(ttl=timedelta(milliseconds=60))
    async with work(leases=leases, poll_interval=timedelta(milliseconds=10)) as one:
        one.results["a"] = Requeue(after=timedelta(hours=1), keep_lease=True)
        with capture_logs() as lines:
            one.controller.enqueue(Name("a"))
            await one.ran("a")
            leases.expire()
            assert await leases.acquire("a") is not None
            await eventually(lambda: any(line["event"] == "reconcile_postponed" for line in lines))
            assert one.runs == ["a"]
            leases.expire()
            await one.ran("a", "a")

    assert one.epochs == [1, 3]


async def test_a_key_that_breaks_between_kept_runs_gives_its_lease_back_and_is_retried_under_a_new_one() -> None:
    leases = OneProcess()
    async with work(leases=leases, poll_interval=timedelta(milliseconds=10)) as one:
        one.results["a"] = Requeue(after=timedelta(milliseconds=1), keep_lease=True)
        one.controller.enqueue(Name("a"))
        await eventually(lambda: len(one.runs) > 2)
        one.results["a"] = DependencyUnavailable("no answer", dependency="s3")
        await eventually(lambda: one.controller.status.retrying == 1)
        assert leases.held_now == set()
        one.results.pop("a")
        await idle(one)

    assert set(one.epochs) >= {1, 2}
