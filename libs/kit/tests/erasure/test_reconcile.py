"""An erasure goes on until nothing is left twice, under no legal hold, wherever a process of the service stops."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from tidemill_core.application import Request, Requeue, ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.erasure.codec import COMPLETED, ErasureCodec
from tidemill_kit.erasure.erasures import Completed, Erasure, ErasureNotFound, State, digest_of_subject
from tidemill_kit.erasure.reconcile import ReconcileErasure
from tidemill_kit.erasure.steps import NotYet, Scope, Step, Target
from tidemill_kit.workers.leases import LeaseLost
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
KEY = ResourceKey(project="acme", id="e1")
RECHECK, POLL = timedelta(seconds=60), timedelta(seconds=30)
BATCH = 2


def row(scope: Scope = Scope.PROJECT, subject: str = "") -> Erasure:
    return Erasure(id="e1", project="acme", scope=scope, subject=subject, request_time=NOON, not_before=NOON)


@dataclass
class Harness:
    """One service with some data of acme."""

    scope: Scope = Scope.PROJECT
    subject: str = ""
    data: dict[str, int] = field(default_factory=lambda: {"documents": 5, "texts": 1})
    clock: FixedClock = field(default_factory=FixedClock)
    age_s: float = 0.0
    before_batch: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.revocations = Revocations(monotonic=lambda: self.age_s)
        self.revocations.complete = True
        self.holds = Holds(self.revocations)
        self.targets: list[Target] = []
        self.rows = InMemoryAggregates(
            row(self.scope, self.subject), codec=ErasureCodec("rag"), missing=ErasureNotFound, clock=self.clock
        )

    def step(self, kind: str) -> Step:
        async def erase(target: Target) -> int:
            self.before_batch(kind)
            self.targets.append(target)
            erased = min(BATCH, self.data[kind])
            self.data[kind] -= erased
            return erased

        return Step(kind=kind, erase=erase)

    def reconcile(self) -> ReconcileErasure:
        return ReconcileErasure(
            erasures=self.rows,
            steps={self.scope: [self.step(kind) for kind in self.data]},
            holds=self.holds,
            clock=self.clock,
            recheck=RECHECK,
            poll=POLL,
        )

    async def go_on(self, epoch: int = 1) -> Requeue | None:
        return await self.reconcile()(KEY, epoch=epoch)

    async def finish(self) -> Erasure:
        while (requeue := await self.go_on()) is not None:
            self.clock.advance(requeue.after or timedelta(0))
        return await self.stored()

    async def stored(self) -> Erasure:
        return await self.rows.get(*(KEY.project, KEY.id))

    def hold(self, **changes: object) -> None:
        assert self.holds.apply(json.dumps({"id": "case-1", "project": "acme", "seq": "1", **changes}).encode())


async def test_steps_are_done_until_nothing_is_left_and_once_more_after_a_while() -> None:
    harness = Harness()

    assert await harness.go_on() == Requeue(after=RECHECK)
    assert harness.data == {"documents": 0, "texts": 0}
    assert await harness.go_on() == Requeue(after=RECHECK)  # not earlier
    assert (await harness.stored()).state is State.PENDING
    harness.clock.advance(RECHECK)
    assert await harness.go_on() is None

    done = await harness.stored()
    assert (done.state, done.counts) == (State.COMPLETED, {"documents": 5, "texts": 1})
    assert (done.start_time, done.complete_time) == (NOON, NOON + RECHECK)
    assert harness.rows.published == [Completed(occurred_at=NOON + RECHECK)]
    assert await harness.go_on() is None


async def test_what_is_found_of_a_project_after_a_while_has_all_steps_done_again() -> None:
    harness = Harness()
    await harness.go_on()
    harness.data["documents"] = 1  # written by what ran meanwhile
    harness.clock.advance(RECHECK)

    assert await harness.go_on() == Requeue(after=RECHECK)
    assert (await harness.finish()).counts == {"documents": 6, "texts": 1}


@pytest.mark.parametrize(("scope", "subject"), [(Scope.END_USER, "u-17"), (Scope.DOCUMENT, "d-1")])
async def test_an_end_user_or_document_that_is_in_use_is_erased_twice_and_complete(scope: Scope, subject: str) -> None:
    harness = Harness(scope=scope, subject=subject)
    await harness.go_on()
    harness.data["documents"] = 3
    harness.clock.advance(RECHECK)

    assert await harness.go_on() is None
    assert harness.data["documents"] == 0
    assert (await harness.stored()).counts == {"documents": 8, "texts": 1}


@pytest.mark.parametrize("saved", [True, False])
async def test_what_the_second_time_found_in_a_project_is_not_forgotten_by_a_kill(saved: bool) -> None:  # noqa: FBT001 - a table
    harness = Harness()
    await harness.go_on()
    harness.data["documents" if saved else "texts"] = 1
    harness.clock.advance(RECHECK)

    def kill(kind: str) -> None:
        if kind == "texts":
            harness.data["texts"] = 0
            raise DependencyUnavailable(kind, dependency="s3")

    harness.before_batch = kill
    with pytest.raises(DependencyUnavailable):
        await harness.go_on(epoch=2)
    harness.before_batch = lambda _: None

    assert harness.data == {"documents": 0, "texts": 0}
    assert await harness.go_on(epoch=3) == Requeue(after=RECHECK)
    harness.clock.advance(RECHECK)
    assert await harness.go_on(epoch=3) is None


async def test_after_the_release_of_a_hold_an_end_user_is_erased_twice() -> None:
    harness = Harness(scope=Scope.END_USER, subject="u-17")
    await harness.go_on()
    harness.hold()
    harness.clock.advance(RECHECK)
    assert await harness.go_on() == Requeue(after=POLL)
    harness.hold(seq="2", released=True)

    assert await harness.go_on() == Requeue(after=RECHECK)


async def test_nothing_is_erased_before_its_time() -> None:
    harness = Harness()
    harness.clock.at = NOON - timedelta(seconds=5)

    assert await harness.go_on() == Requeue(after=timedelta(seconds=5))
    assert harness.targets == []


@pytest.mark.parametrize(
    ("scope", "subject", "hold"),
    [
        (Scope.PROJECT, "", {}),
        (Scope.PROJECT, "", {"end_user": "u-17"}),
        (Scope.PROJECT, "", {"document": "d-1"}),
        (Scope.END_USER, "u-17", {}),
        (Scope.END_USER, "u-17", {"end_user": "u-17"}),
        (Scope.DOCUMENT, "d-1", {}),
        (Scope.DOCUMENT, "d-1", {"document": "d-1"}),
        (Scope.END_USER, "u-17", {"document": "d-1"}),
        (Scope.DOCUMENT, "d-1", {"end_user": "u-17"}),
        (Scope.END_USER, "u-17\u200b ", {"end_user": "u-17"}),
        (Scope.END_USER, "u-17", {"end_user": " u-17"}),
    ],
)
async def test_nothing_is_erased_that_a_legal_hold_covers_until_it_is_released(
    scope: Scope, subject: str, hold: dict[str, object]
) -> None:
    harness = Harness(scope=scope, subject=subject)
    harness.hold(**hold)

    assert await harness.go_on() == Requeue(after=POLL)
    assert (await harness.stored()).state is State.HELD
    assert harness.targets == []
    harness.hold(seq="2", released=True, **hold)
    assert (await harness.finish()).state is State.COMPLETED
    assert harness.targets[0] == Target(project="acme", scope=scope, subject=subject)


@pytest.mark.parametrize(
    ("scope", "subject", "hold"),
    [
        (Scope.PROJECT, "", {"project": "globex"}),
        (Scope.END_USER, "u-17", {"end_user": "u-1"}),
        (Scope.DOCUMENT, "d-1", {"document": "d-17"}),
    ],
)
async def test_a_legal_hold_of_other_data_holds_up_nothing(scope: Scope, subject: str, hold: dict[str, object]) -> None:
    harness = Harness(scope=scope, subject=subject)
    harness.hold(**hold)

    assert (await harness.finish()).state is State.COMPLETED


async def test_a_legal_hold_that_comes_meanwhile_stops_the_erasure_before_the_next_batch() -> None:
    harness = Harness()
    harness.before_batch = lambda _: harness.hold()

    await harness.go_on()

    assert harness.data == {"documents": 3, "texts": 1}
    assert (await harness.stored()).counts == {"documents": 2}


@pytest.mark.parametrize(("complete", "age_s"), [(False, 0.0), (True, 31.0)])
async def test_a_process_that_does_not_know_the_legal_holds_of_now_erases_nothing(complete: bool, age_s: float) -> None:  # noqa: FBT001 - a table
    harness = Harness()
    harness.revocations.complete = complete
    harness.age_s = age_s

    assert await harness.go_on() == Requeue(after=POLL)
    assert harness.targets == []
    harness.revocations.complete, harness.age_s = True, 0.0
    assert (await harness.finish()).state is State.COMPLETED


async def test_after_a_crash_it_goes_on_and_counts_what_was_erased_before() -> None:
    harness = Harness()

    def crash(kind: str) -> None:
        if kind == "texts":
            raise DependencyUnavailable(kind, dependency="s3")

    harness.before_batch = crash
    with pytest.raises(DependencyUnavailable):
        await harness.go_on()
    harness.before_batch = lambda _: None

    assert (await harness.finish()).counts == {"documents": 5, "texts": 1}


async def test_a_process_that_lost_its_lease_counts_nothing_more() -> None:
    harness = Harness()
    other = harness.rows

    async def lose_lease(_: Target) -> int:
        await other.update("acme", "e1", lambda each: each.begin(now=NOON, epoch=2), request=Request.internal())
        return 1

    reconcile = harness.reconcile()
    stale = ReconcileErasure(
        erasures=reconcile.erasures,
        steps={Scope.PROJECT: [Step(kind="documents", erase=lose_lease)]},
        holds=harness.holds,
        clock=harness.clock,
        recheck=RECHECK,
        poll=POLL,
    )
    with pytest.raises(LeaseLost):
        await stale(KEY, epoch=1)
    with pytest.raises(LeaseLost):
        await harness.go_on(epoch=1)

    assert (await harness.stored()).counts == {}
    assert await harness.go_on(epoch=2) == Requeue(after=RECHECK)


@pytest.mark.parametrize(
    "late",
    [
        lambda row: row.hold(epoch=1),
        lambda row: row.again(not_before=NOON, epoch=1),
        lambda row: row.complete(now=NOON, epoch=1),
        lambda row: row.begin(now=NOON, epoch=1),
    ],
)
def test_a_process_that_lost_its_lease_changes_nothing(late: Callable[[Erasure], None]) -> None:
    pending, completed = row(), row()
    pending.begin(now=NOON, epoch=2)
    completed.begin(now=NOON, epoch=1)
    completed.complete(now=NOON, epoch=1)

    for each in (pending, completed):
        before = repr(each)
        with pytest.raises(LeaseLost):
            late(each)
        assert repr(each) == before


async def test_a_step_that_waits_for_something_to_end_is_tried_again_soon() -> None:
    harness = Harness()
    running = [True]

    def wait(kind: str) -> None:
        if kind == "texts" and running:
            running.clear()
            message = "a run has to end first"
            raise NotYet(message)

    harness.before_batch = wait
    assert await harness.go_on() == Requeue(after=timedelta(seconds=2))
    assert (await harness.finish()).counts == {"documents": 5, "texts": 1}


async def test_a_scope_without_steps_is_completed_with_no_counts() -> None:
    harness = Harness(data={})

    assert (await harness.finish()).counts == {}


async def test_of_an_end_user_only_a_digest_is_left_and_a_documents_id_stays() -> None:
    end_user, document = Harness(scope=Scope.END_USER, subject="u-17"), Harness(scope=Scope.DOCUMENT, subject="d-1")

    left = await end_user.finish()

    assert left.subject == digest_of_subject(Target(project="acme", scope=Scope.END_USER, subject="u-17"))
    assert "u-17" not in str(ErasureCodec("rag").encode(left))
    assert (await document.finish()).subject == "d-1"


def test_the_report_is_published_as_its_example() -> None:
    example = json.loads((EXAMPLES / f"{COMPLETED}.json").read_text("utf-8"))
    done = row()
    done.id, done.counts = example["id"], {each["kind"]: int(each["count"]) for each in example["counts"]}
    done.start_time = NOON + timedelta(seconds=1)
    event = Completed(occurred_at=NOON + timedelta(seconds=65))

    ce_type, message = ErasureCodec("feedback").event(done, event, 1)

    assert (ce_type, sorted_counts(MessageToDict(message, preserving_proto_field_name=True))) == (
        COMPLETED,
        sorted_counts(example),
    )


def sorted_counts(report: dict[str, list[dict[str, str]]]) -> dict[str, object]:
    return {**report, "counts": sorted(report["counts"], key=lambda each: each["kind"])}
