"""Legal holds, and who releases them."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.monitor.tests.erasures.harness import ADA, BOB, EVE, ROOT, Erasing, write
from tidemill_core.application import PageRequest
from tidemill_core.errors import AlreadyExists, Conflict, DependencyUnavailable, InvalidInput
from tidemill_kit.access.holds import Holds as AsRead
from tidemill_kit.access.revocations import Revocations
from tidemill_monitor.errors import HoldNotFound, ProjectIsDeleted, ReleaseByCreator
from tidemill_monitor.holds.domain import Hold, HoldChanged, HoldState
from tidemill_monitor.holds.wiring import KnownHolds
from tidemill_testkit.clocks import NOON


async def test_a_hold_is_published_to_every_process_under_a_key_of_its_own() -> None:
    erasing = Erasing()

    hold = await erasing.hold(end_user="u-17")

    assert (hold.project, hold.creator, hold.state) == ("acme", "user:ada", HoldState.ACTIVE)
    (event,) = erasing.hold_store.published
    assert isinstance(event, HoldChanged)
    assert (event.record_key, event.end_user, event.released) == ("hold/acme/case-1", "u-17", False)


@pytest.mark.parametrize(
    ("of", "asked", "held"),
    [
        ({}, {}, True),
        ({}, {"end_user": "u"}, True),
        ({}, {"document": "d"}, True),
        ({"end_user": "u"}, {}, True),
        ({"end_user": "u"}, {"end_user": "u"}, True),
        ({"end_user": "u"}, {"end_user": "v"}, False),
        ({"end_user": "u"}, {"document": "d"}, True),
        ({"document": "d"}, {"end_user": "u"}, True),
        ({"end_user": "u"}, {"end_user": "u\u200b "}, True),
        ({"document": "d"}, {"document": "d"}, True),
        ({"document": "d"}, {"document": "e"}, False),
    ],
)
async def test_what_a_hold_covers(of: dict[str, str], asked: dict[str, str], held: bool) -> None:  # noqa: FBT001
    erasing = Erasing()
    await erasing.hold(end_user=of.get("end_user", ""), document=of.get("document", ""))

    subject = {"end_user": "", "document": "", **asked}
    (hold,) = await erasing.holds.active("acme")
    assert hold.covers(**subject) is held
    assert await erasing.holds.active("globex") == []
    released = await erasing.holds.release(BOB, "case-1", write())
    assert await erasing.holds.active("acme") == []
    assert not released.covers(**subject)


async def test_another_admin_releases_a_hold_and_not_the_one_who_created_it() -> None:
    erasing = Erasing()
    await erasing.hold()

    with pytest.raises(ReleaseByCreator):
        await erasing.holds.release(ADA, "case-1", write())
    assert len(await erasing.holds.active("acme")) == 1
    erasing.clock.advance(timedelta(hours=1))
    released = [await erasing.holds.release(by, "case-1", write()) for by in (BOB, ADA)]

    assert {(each.state, each.releaser, each.release_time) for each in released} == {
        (HoldState.RELEASED, "user:bob", NOON + timedelta(hours=1))
    }
    assert [each.released for each in erasing.hold_store.published if isinstance(each, HoldChanged)] == [False, True]


async def test_an_admin_of_the_installation_releases_any_hold_their_own_too() -> None:
    erasing = Erasing()
    await erasing.hold(caller=ROOT)

    assert (await erasing.holds.release(ROOT, "case-1", write())).state is HoldState.RELEASED


async def test_holds_of_another_project_are_absent() -> None:
    erasing = Erasing()
    await erasing.hold()

    for refused in (erasing.holds.get(EVE, "case-1"), erasing.holds.release(EVE, "case-1", write())):
        with pytest.raises(HoldNotFound):
            await refused
    assert (await erasing.holds.list(EVE, PageRequest())).items == []


async def test_a_name_is_taken_once_and_a_stale_etag_releases_nothing() -> None:
    erasing = Erasing()
    hold = await erasing.hold()

    with pytest.raises(AlreadyExists):
        await erasing.hold(document="d")
    with pytest.raises(Conflict):
        await erasing.holds.release(BOB, "case-1", write(etag=str(hold.version + 1)))
    preview = await erasing.holds.release(BOB, "case-1", write(validate_only=True))

    assert preview.state is HoldState.RELEASED
    assert len(await erasing.holds.active("acme")) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"id": "Case 1"}, "hold.id"),
        ({"reason": ""}, "hold.reason"),
        ({"reason": "x" * 201}, "hold.reason"),
        ({"reason": "a\nb"}, "hold.reason"),
        ({"end_user": "u", "document": "d"}, "a hold for each"),
        ({"end_user": "u" * 513}, "512"),
        ({"document": "u" * 513}, "512"),
        ({"end_user": "u-17 "}, "hold.end_user"),
        ({"end_user": "u\u200b-17"}, "hold.end_user"),
        ({"document": " d"}, "hold.document"),
    ],
)
async def test_bad_fields_are_named(fields: dict[str, str], text: str) -> None:
    given: dict[str, str] = {"id": "case-1", "project": "acme", "reason": "14/2026"}

    with pytest.raises(InvalidInput, match=text):
        await Erasing().holds.create(ADA, Hold(**(given | fields)), write())  # type: ignore[arg-type]


async def test_an_erasure_removes_from_released_holds_whom_they_were_about() -> None:
    erasing = Erasing()
    for name, user in (("a", "u-17"), ("b", "u-18"), ("c", "u-17")):
        await erasing.hold(name, end_user=user)
    for name in ("a", "b"):
        await erasing.holds.release(BOB, name, write())

    counts = [await erasing.holds.forget("acme", end_user="u-17") for _ in range(2)]

    assert counts == [1, 0]
    users = {each.id: each.end_user for each in erasing.hold_store.all()}
    assert users == {"a": "", "b": "u-18", "c": "u-17"}, "what still holds is kept, and so are those of others"
    last = erasing.hold_store.published[-1]
    assert isinstance(last, HoldChanged)
    assert (last.record_key, last.end_user, last.released) == ("hold/acme/a", "", True)
    assert await erasing.holds.forget("acme") == 1


async def test_a_project_can_be_held_until_nothing_of_it_is_left() -> None:
    erasing = Erasing()
    await erasing.deleted_project()
    await erasing.hold("while-it-is-erased")
    (erasure,) = erasing.store.all()
    await erasing.completed(erasure)

    with pytest.raises(ProjectIsDeleted):
        await erasing.hold("afterwards")


def record_of(hold: str) -> bytes:
    return json.dumps({"id": hold, "project": "acme", "end_user": "u-17", "released": False, "seq": 1}).encode()


async def test_a_hold_is_answered_once_it_stands_where_services_read_it() -> None:
    erasing, read = Erasing(), AsRead(Revocations())
    erasing.holds = replace(erasing.holds, known=KnownHolds(read=read, wait_s=30))

    creating = asyncio.create_task(erasing.hold(end_user="u-17"))
    early, _ = await asyncio.wait({creating}, timeout=0.1)
    read.apply(record_of("case-1"))

    assert not early
    assert erasing.hold_store.published
    assert (await creating).id == "case-1"


async def test_a_hold_that_services_do_not_read_in_time_is_stored_and_said_to_be() -> None:
    erasing, read = Erasing(), AsRead(Revocations())
    erasing.holds = replace(erasing.holds, known=KnownHolds(read=read, wait_s=0.01))

    with pytest.raises(DependencyUnavailable, match="hold case-1 is stored"):
        await erasing.hold(end_user="u-17")
    (stored,) = await erasing.holds.active("acme")

    read.apply(record_of("case-1"))
    await erasing.holds.known(stored)
