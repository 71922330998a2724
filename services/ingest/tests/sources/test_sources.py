from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.fakes import ACME, Ingest
from tidemill_core.application import Request
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, RequestIdReused
from tidemill_ingest.errors import EventsNotRegistered, EventSourceTaken, SourceNotFound
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.crud import CreateSourceCommand, DeleteSourceCommand, UpdateSourceCommand
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.find_source import FindSource

KB = "https://cms.acme.example/kb"


def creating(
    source_id: str = "cms", *, events: str = "", project: str = "acme", request_id: str = ""
) -> CreateSourceCommand:
    source = Source(id=source_id, project=project, events=events)
    return CreateSourceCommand(source=source, request=Request.of(request_id, repr(source).encode()))


def updating(source: Source, *fields: str, etag: str = "", request_id: str = "") -> UpdateSourceCommand:
    request = Request.of(request_id, b"")
    return UpdateSourceCommand(source=source, fields=frozenset(fields), request=request, etag=etag)


def deleting(source_id: str = "cms", *, etag: str = "", request_id: str = "") -> DeleteSourceCommand:
    return DeleteSourceCommand(source_id=source_id, request=Request.of(request_id, b""), etag=etag)


async def test_a_new_source_masks_everything_unless_it_says_otherwise() -> None:
    ingest = Ingest()

    source = await ingest.changing.create(creating())

    assert source.masking.kinds == frozenset(MaskKind)


@pytest.mark.parametrize(
    ("kinds", "none", "expected"),
    [([], False, frozenset(MaskKind)), (["email"], False, {MaskKind.EMAIL}), ([], True, frozenset())],
)
def test_masking_is_all_unless_kinds_or_none_are_written_out(
    kinds: list[str], expected: frozenset[MaskKind], *, none: bool
) -> None:
    assert Masking.of(kinds, none=none).kinds == expected


@pytest.mark.parametrize(("kinds", "none"), [(["emial"], False), (["email"], True)])
def test_masking_refuses_unknown_kinds_and_contradictions(kinds: list[str], *, none: bool) -> None:
    with pytest.raises(InvalidInput):
        Masking.of(kinds, none=none)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("id", "No Slug"),
        ("id", "a" * 64),
        ("id", ""),
        ("events", "has space"),
        ("events", "e" * 513),
        ("retention_days", -1),
        ("retention_days", 36_501),
        ("labels", {"k": "v" * 257}),
        ("labels", {f"k{n}": "" for n in range(65)}),
    ],
)
async def test_a_source_that_breaks_a_rule_is_refused_by_the_field(field: str, bad: object) -> None:
    ingest = Ingest()
    command = creating()
    setattr(command.source, field, bad)

    with pytest.raises(InvalidInput) as refused:
        await ingest.changing.create(command)

    assert refused.value.violations[0].field.startswith(f"source.{field}")


async def test_the_same_request_creates_once_and_another_one_is_refused() -> None:
    ingest = Ingest()
    first = await ingest.changing.create(creating(request_id="r1"))
    again = await ingest.changing.create(creating(request_id="r1"))

    assert first.version == again.version == 1
    with pytest.raises(AlreadyExists):
        await ingest.changing.create(creating(request_id="r2"))
    with pytest.raises(RequestIdReused):
        await ingest.changing.create(creating(events=KB, request_id="r1"))


async def test_events_belong_to_one_source_of_a_project_and_other_projects_have_their_own() -> None:
    ingest = Ingest()
    await ingest.changing.create(creating(events=KB))

    with pytest.raises(EventSourceTaken, match="'cms'"):
        await ingest.changing.create(creating("other", events=KB))
    await ingest.changing.create(creating(events=KB, project="umbrella"))

    assert (await ingest.events.find("acme", KB)).project == "acme"
    assert (await ingest.events.find("umbrella", KB)).project == "umbrella"
    with pytest.raises(EventsNotRegistered):
        await ingest.events.find("initech", KB)


async def test_events_are_free_again_once_their_source_gives_them_up() -> None:
    ingest = Ingest()
    source = await ingest.changing.create(creating(events=KB))

    await ingest.changing.update(updating(replace(source, events=""), "events"))
    await ingest.changing.create(creating("second", events=KB))
    await ingest.changing.delete(ACME, deleting("second"))
    await ingest.changing.create(creating("third", events=KB))

    assert (await ingest.events.find("acme", KB)).id == "third"


async def test_events_that_a_crash_left_bound_are_free_after_a_minute() -> None:
    ingest = Ingest()
    await ingest.events.bind("acme", KB, "never-saved")

    with pytest.raises(EventSourceTaken):
        await ingest.changing.create(creating(events=KB))
    ingest.clock.advance(timedelta(minutes=2))
    await ingest.changing.create(creating(events=KB))

    assert (await ingest.events.find("acme", KB)).id == "cms"


async def test_an_update_changes_only_what_its_mask_names() -> None:
    ingest = Ingest()
    source = await ingest.changing.create(creating(events=KB))
    desired = replace(source, events="urn:other", retention_days=30)

    saved = await ingest.changing.update(updating(desired, "retention_days", etag="1"))

    assert (saved.events, saved.retention_days) == (KB, 30)
    with pytest.raises(Conflict):
        await ingest.changing.update(updating(desired, "retention_days", etag="1"))
    with pytest.raises(SourceNotFound):
        await ingest.changing.update(updating(replace(desired, id="nope"), "retention_days"))


async def test_a_deleted_source_takes_nothing_and_its_id_can_be_taken_again() -> None:
    ingest = Ingest()
    await ingest.changing.create(creating(events=KB))

    with pytest.raises(Conflict):
        await ingest.changing.delete(ACME, deleting(etag="99"))
    await ingest.changing.delete(ACME, deleting(request_id="d1"))
    await ingest.changing.delete(ACME, deleting(request_id="d1"))

    with pytest.raises(SourceNotFound):
        await ingest.sources.get("acme", "cms")
    with pytest.raises(EventsNotRegistered):
        await ingest.events.find("acme", KB)
    assert (await ingest.changing.create(creating(events=KB))).version > 1


async def test_checking_only_changes_nothing() -> None:
    ingest = Ingest()
    await ingest.changing.create(replace(creating(events=KB), validate_only=True))
    with pytest.raises(SourceNotFound):
        await ingest.sources.get("acme", "cms")

    source = await ingest.changing.create(creating())
    with pytest.raises(AlreadyExists):
        await ingest.changing.create(replace(creating(), validate_only=True))
    await ingest.changing.update(replace(updating(replace(source, events=KB), "events"), validate_only=True))
    await ingest.changing.delete(ACME, replace(deleting(), validate_only=True))

    assert (await ingest.sources.get("acme", "cms")).events == ""


async def test_checking_only_finds_that_events_are_taken() -> None:
    ingest = Ingest()
    await ingest.changing.create(creating(events=KB))
    other = await ingest.changing.create(creating("other"))

    with pytest.raises(EventSourceTaken):
        await ingest.changing.create(replace(creating("third", events=KB), validate_only=True))
    with pytest.raises(EventSourceTaken):
        await ingest.changing.update(replace(updating(replace(other, events=KB), "events"), validate_only=True))


async def test_a_source_that_was_found_is_remembered_for_a_moment_and_one_that_was_not_is_not() -> None:
    ingest = Ingest()
    find = FindSource(events=ingest.events, clock=ingest.clock)
    with pytest.raises(EventsNotRegistered):
        await find("acme", KB)
    source = await ingest.changing.create(creating(events=KB))

    assert (await find("acme", KB)).masking == source.masking
    await ingest.changing.update(updating(replace(source, masking=Masking.of([], none=True)), "masking"))
    assert (await find("acme", KB)).masking == source.masking
    ingest.clock.advance(timedelta(seconds=6))

    assert (await find("acme", KB)).masking.kinds == frozenset()
