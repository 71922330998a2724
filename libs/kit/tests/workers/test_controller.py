"""The queue of keys that every worker of a service is: what runs, how often, and what keeps it from running."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from tidemill_core.application import Page, Requeue, SystemClock
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Lease, LeaseLost
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually

SELDOM = timedelta(minutes=1)


@dataclass(frozen=True)
class Name:
    """A key."""

    key: str
    project: str = "acme"


class Pages:
    """What a store would find to do, two keys a page."""

    def __init__(self, *keys: Name) -> None:
        self.keys = list(keys)
        self.asked: list[tuple[str, frozenset[str]]] = []
        self.error: Exception | None = None

    async def __call__(self, token: str, /, *, without: frozenset[str]) -> Page[Name]:
        self.asked.append((token, without))
        if self.error is not None:
            raise self.error
        rest = [key for key in self.keys if key.key > token and key.project not in without]
        return Page(items=rest[:2], next_token=rest[1].key if len(rest) > 2 else "")


class OneProcess:
    """Leases of which another process may hold some."""

    def __init__(self) -> None:
        self.elsewhere = set[str]()
        self.lost: set[str] = set()
        self.held_now = set[str]()
        self.epoch = 0

    @asynccontextmanager
    async def held(self, job_id: str) -> AsyncIterator[Lease | None]:
        if job_id in self.elsewhere:
            yield None
            return
        self.epoch += 1
        self.held_now.add(job_id)
        try:
            yield Lease(job_id=job_id, owner="me", epoch=self.epoch, expires_at=SystemClock().now())
        finally:
            self.held_now.discard(job_id)
        if job_id in self.lost:
            raise LeaseLost(job_id)


class Work:
    """A controller under way, and what it did."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - what a controller is given
        self.pending = Pages()
        self.runs: list[str] = []
        self.epochs: list[int] = []
        self.results: dict[str, Requeue | Exception] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        settings: dict[str, Any] = {"max_concurrent": 4, "poll_interval": SELDOM} | given
        self.controller: Controller[Name] = Controller("things", reconcile=self._run, pending=self.pending, **settings)

    async def _run(self, key: Name, epoch: int) -> Requeue | None:
        self.runs.append(key.key)
        self.epochs.append(epoch)
        await self.hold.wait()
        result = self.results.get(key.key)
        if isinstance(result, Exception):
            raise result
        self.pending.keys = [each for each in self.pending.keys if each != key or result is not None]
        return result

    async def ran(self, *keys: str) -> None:
        """Return when these runs were made, in any order, and no other."""
        await eventually(lambda: len(self.runs) >= len(keys))
        assert Counter(self.runs) == Counter(keys)


@asynccontextmanager
async def work(*pending: Name, **given: Any) -> AsyncIterator[Work]:  # noqa: ANN401 - see above
    made = Work(**given)
    made.pending.keys = list(pending)
    await made.controller.start()
    await eventually(lambda: bool(made.pending.asked))
    yield made
    await made.controller.stop()


async def idle(one: Work) -> None:
    """Return when nothing runs, and nothing is due."""
    await eventually(lambda: one.controller.status.running == one.controller.status.queued == 0)


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
