"""Who may have what erased, and when it is the same erasure."""

from datetime import timedelta
from hashlib import sha256

import pytest

from services.monitor.tests.erasures.harness import ADA, BOB, DUE, EVE, Erasing, write
from tidemill_core.application import PageRequest, ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_monitor.erasures.domain.erasure import ErasureScope, ErasureState, ErasureWasRequested
from tidemill_monitor.errors import ErasureNotFound, UnderLegalHold
from tidemill_testkit.clocks import NOON


async def test_an_erasure_is_published_to_all_services_and_begins_when_holds_are_known_everywhere() -> None:
    erasing = Erasing()

    erasure = await erasing.of_user()

    (event,) = erasing.store.published
    assert isinstance(event, ErasureWasRequested)
    assert (event.id, event.project, event.scope, event.subject) == (erasure.id, "acme", ErasureScope.END_USER, "u-17")
    assert event.not_before == NOON + timedelta(seconds=5)
    assert (erasure.requester, erasure.due_time) == ("user:ada", NOON + DUE)
    assert erasure.subject_digest == sha256(b"acme/u-17").hexdigest()


async def test_requesting_it_twice_is_the_same_erasure_for_any_caller_and_request() -> None:
    erasing = Erasing()

    first = await erasing.of_user(request_id="one")
    again = [await erasing.of_user(request_id="one"), await erasing.of_user(request_id="two", caller=BOB)]

    assert {each.id for each in again} == {first.id}
    assert len(erasing.store.published) == 1


async def test_what_came_after_a_completed_erasure_is_erased_by_another_one() -> None:
    erasing = Erasing()
    first = await erasing.completed(await erasing.of_user(request_id="one"))

    repeated = await erasing.of_user(request_id="one")
    second = await erasing.of_user(request_id="two")
    third = await erasing.of_user()

    assert repeated.id == first.id, "a retried request has its first reply"
    assert second.id == third.id != first.id
    assert (second.completed, second.subject) == (False, "u-17")


async def test_two_projects_and_two_scopes_are_apart() -> None:
    erasing = Erasing()
    ids = [
        (await erasing.of_user("x")).id,
        (await erasing.of_user("x", caller=EVE)).id,
        (await erasing.request(ADA, end_user="", document="x", write=write())).id,
    ]

    assert len(set(ids)) == 3
    with pytest.raises(ErasureNotFound):
        await erasing.read.get(EVE, ids[0])
    listed = await erasing.read.list(EVE, PageRequest())
    assert [each.erasure.id for each in listed.items] == [ids[1]]


@pytest.mark.parametrize(
    ("end_user", "document", "text"),
    [("", "", "both empty"), ("u", "d", "both set"), ("u" * 513, "", "512"), ("", "d" * 513, "512")]
    + [
        (f"{before}u{after}", "", "not seen")
        for before, after in (("", " "), (" ", ""), ("", "\u200b"), ("\u00ad", ""))
    ]
    + [("", "d ", "not seen")],
)
async def test_one_subject_is_named(end_user: str, document: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        await Erasing().request(ADA, end_user=end_user, document=document, write=write())


async def test_a_validated_request_requests_nothing() -> None:
    erasing = Erasing()

    preview = await erasing.request(ADA, end_user="u", document="", write=write(validate_only=True))

    assert (preview.end_user, erasing.store.all()) == ("u", [])


@pytest.mark.parametrize("end_user", ["", "u-17"])
async def test_what_is_under_a_legal_hold_is_not_erased(end_user: str) -> None:
    erasing = Erasing()
    await erasing.hold(end_user=end_user)
    await erasing.hold("other", end_user="u-18")

    with pytest.raises(UnderLegalHold) as refused:
        await erasing.of_user()

    assert (refused.value.reason, refused.value.metadata["hold"]) == ("LEGAL_HOLD", "case-1")
    assert erasing.store.all() == []
    await erasing.of_user(caller=EVE)


async def test_a_hold_of_a_running_erasure_holds_it_until_it_is_released() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user()
    await erasing.hold(end_user="u-17")

    held = await erasing.read.get(ADA, erasure.id)
    await erasing.holds.release(BOB, "case-1", write())
    released = await erasing.read.get(ADA, erasure.id)

    assert (held.state, held.hold) == (ErasureState.HELD, "case-1")
    assert (released.state, released.hold) == (ErasureState.PENDING, "")


async def test_a_deleted_project_is_erased_once_in_the_name_of_who_deleted_it() -> None:
    erasing = Erasing()
    await erasing.deleted_project()
    await erasing.request.of_project(ResourceKey(project="acme", id="acme"))
    await erasing.request.of_project(ResourceKey(project="absent", id="absent"))

    (erasure,) = erasing.store.all()
    (event,) = erasing.store.published

    assert (erasure.scope, erasure.subject, erasure.requester) == (ErasureScope.PROJECT, "", "user:root")
    assert isinstance(event, ErasureWasRequested)
    assert event.not_before == NOON + timedelta(seconds=5), "the revocation is known everywhere by then"
