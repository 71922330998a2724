from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.fakes import ACME, Ingest
from tidemill_core.application import Caller, Request
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, RequestIdReused
from tidemill_core.resources import Write
from tidemill_ingest.errors import EventsNotRegistered, EventSourceTaken, SourceNotFound
from tidemill_ingest.masking.kinds import STRUCTURED, Masking, MaskKind
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.known_sources import KnownSources

KB = "https://cms.acme.example/kb"


def creating(
    source_id: str = "cms",
    *,
    events: str = "",
    project: str = "acme",
    request_id: str = "",
    validate_only: bool = False,
) -> tuple[Source, Write]:
    source = Source(id=source_id, project=project, events=events)
    return source, Write(request=Request.of(request_id, repr(source).encode()), validate_only=validate_only)


def updating(
    source: Source, *fields: str, etag: str = "", validate_only: bool = False
) -> tuple[Source, frozenset[str], Write]:
    return source, frozenset(fields), Write(request=Request.internal(), etag=etag, validate_only=validate_only)


def deleting(
    source_id: str = "cms", *, etag: str = "", request_id: str = "", validate_only: bool = False
) -> tuple[str, Write]:
    return source_id, Write(request=Request.of(request_id, b""), etag=etag, validate_only=validate_only)


async def test_a_new_source_masks_everything_unless_it_says_otherwise() -> None:
    ingest = Ingest()

    source = await ingest.managing.create(ACME, *creating())

    assert source.masking.kinds == STRUCTURED


@pytest.mark.parametrize(
    ("kinds", "none", "expected"),
    [([], False, STRUCTURED), (["email"], False, {MaskKind.EMAIL}), ([], True, frozenset())],
)
def test_masking_is_all_unless_kinds_or_none_are_written_out(
    kinds: list[str], expected: frozenset[MaskKind], *, none: bool
) -> None:
    assert Masking.of(kinds, none=none).kinds == expected


@pytest.mark.parametrize(("kinds", "none"), [(["emial"], False), (["email"], True), (["person"], False)])
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
    source, write = creating()
    setattr(source, field, bad)

    with pytest.raises(InvalidInput) as refused:
        await ingest.managing.create(ACME, source, write)

    assert refused.value.violations[0].field.startswith(f"source.{field}")


async def test_the_same_request_creates_once_and_another_one_is_refused() -> None:
    ingest = Ingest()
    first = await ingest.managing.create(ACME, *creating(request_id="r1"))
    again = await ingest.managing.create(ACME, *creating(request_id="r1"))

    assert first.version == again.version == 1
    with pytest.raises(AlreadyExists):
        await ingest.managing.create(ACME, *creating(request_id="r2"))
    with pytest.raises(RequestIdReused):
        await ingest.managing.create(ACME, *creating(events=KB, request_id="r1"))


async def test_events_belong_to_one_source_of_a_project_and_other_projects_have_their_own() -> None:
    ingest = Ingest()
    await ingest.managing.create(ACME, *creating(events=KB))

    with pytest.raises(EventSourceTaken, match="'cms'"):
        await ingest.managing.create(ACME, *creating("other", events=KB))
    await ingest.managing.create(Caller(project="umbrella"), *creating(events=KB, project="umbrella"))

    assert (await ingest.events.find(ACME, KB)).project == "acme"
    assert (await ingest.events.find(Caller(project="umbrella"), KB)).project == "umbrella"
    with pytest.raises(EventsNotRegistered):
        await ingest.events.find(Caller(project="initech"), KB)


async def test_events_are_free_again_once_their_source_gives_them_up() -> None:
    ingest = Ingest()
    source = await ingest.managing.create(ACME, *creating(events=KB))

    await ingest.managing.update(ACME, *updating(replace(source, events=""), "events"))
    await ingest.managing.create(ACME, *creating("second", events=KB))
    await ingest.managing.delete(ACME, *deleting("second"))
    await ingest.managing.create(ACME, *creating("third", events=KB))

    assert (await ingest.events.find(ACME, KB)).id == "third"


async def test_events_that_a_crash_left_bound_are_free_after_a_minute() -> None:
    ingest = Ingest()
    await ingest.events.bind(ACME, KB, "never-saved")

    with pytest.raises(EventSourceTaken):
        await ingest.managing.create(ACME, *creating(events=KB))
    ingest.clock.advance(timedelta(minutes=2))
    await ingest.managing.create(ACME, *creating(events=KB))

    assert (await ingest.events.find(ACME, KB)).id == "cms"


async def test_an_update_changes_only_what_its_mask_names() -> None:
    ingest = Ingest()
    source = await ingest.managing.create(ACME, *creating(events=KB))
    desired = replace(source, events="urn:other", retention_days=30)

    saved = await ingest.managing.update(ACME, *updating(desired, "retention_days", etag="1"))

    assert (saved.events, saved.retention_days) == (KB, 30)
    with pytest.raises(Conflict):
        await ingest.managing.update(ACME, *updating(desired, "retention_days", etag="1"))
    with pytest.raises(SourceNotFound):
        await ingest.managing.update(ACME, *updating(replace(desired, id="nope"), "retention_days"))


async def test_a_deleted_source_takes_nothing_and_its_id_can_be_taken_again() -> None:
    ingest = Ingest()
    await ingest.managing.create(ACME, *creating(events=KB))

    with pytest.raises(Conflict):
        await ingest.managing.delete(ACME, *deleting(etag="99"))
    await ingest.managing.delete(ACME, *deleting(request_id="d1"))
    await ingest.managing.delete(ACME, *deleting(request_id="d1"))

    with pytest.raises(SourceNotFound):
        await ingest.sources.get("acme", "cms")
    with pytest.raises(EventsNotRegistered):
        await ingest.events.find(ACME, KB)
    assert (await ingest.managing.create(ACME, *creating(events=KB))).version > 1


async def test_a_deletion_that_is_repeated_takes_no_events_from_a_source_that_was_made_anew() -> None:
    ingest = Ingest()
    await ingest.managing.create(ACME, *creating(events=KB))
    await ingest.managing.delete(ACME, *deleting(request_id="d1"))
    await ingest.managing.create(ACME, *creating(events=KB))

    await ingest.managing.delete(ACME, *deleting(request_id="d1"))

    assert (await ingest.events.find(ACME, KB)).id == "cms"


async def test_checking_only_changes_nothing() -> None:
    ingest = Ingest()
    await ingest.managing.create(ACME, *creating(events=KB, validate_only=True))
    with pytest.raises(SourceNotFound):
        await ingest.sources.get("acme", "cms")

    source = await ingest.managing.create(ACME, *creating())
    with pytest.raises(AlreadyExists):
        await ingest.managing.create(ACME, *creating(validate_only=True))
    await ingest.managing.update(ACME, *updating(replace(source, events=KB), "events", validate_only=True))
    await ingest.managing.delete(ACME, *deleting(validate_only=True))

    assert (await ingest.sources.get("acme", "cms")).events == ""


async def test_checking_only_finds_that_events_are_taken() -> None:
    ingest = Ingest()
    await ingest.managing.create(ACME, *creating(events=KB))
    other = await ingest.managing.create(ACME, *creating("other"))

    with pytest.raises(EventSourceTaken):
        await ingest.managing.create(ACME, *creating("third", events=KB, validate_only=True))
    with pytest.raises(EventSourceTaken):
        await ingest.managing.update(ACME, *updating(replace(other, events=KB), "events", validate_only=True))


async def test_a_source_that_was_found_is_remembered_for_a_moment_and_one_that_was_not_is_not() -> None:
    ingest = Ingest()
    find = KnownSources(events=ingest.events, clock=ingest.clock)
    with pytest.raises(EventsNotRegistered):
        await find(ACME, KB)
    source = await ingest.managing.create(ACME, *creating(events=KB))

    assert (await find(ACME, KB)).masking == source.masking
    await ingest.managing.update(ACME, *updating(replace(source, masking=Masking.of([], none=True)), "masking"))
    assert (await find(ACME, KB)).masking == source.masking
    ingest.clock.advance(timedelta(seconds=6))

    assert (await find(ACME, KB)).masking.kinds == frozenset()


def test_a_model_finds_all_names_unless_kinds_are_written_out() -> None:
    assert Masking.of([], none=False, model="names@1").kinds == frozenset(MaskKind)
    assert Masking.of(["place"], none=False, model="acme/names@12").kinds == {MaskKind.PLACE}
    assert Masking.of([], none=False, model="acme/names_de@1").model == "acme/names_de@1"


@pytest.mark.parametrize(
    ("kinds", "none", "model", "message"),
    [
        (["person"], False, "", "person is found by a model: register one"),
        (["email"], False, "names@1", "name one of them in kinds"),
        ([], True, "names@1", "masks nothing"),
        ([], False, "names", "name a version of a registered model, such as names@1"),
    ],
)
def test_names_need_a_version_of_a_model_and_a_model_names(
    kinds: list[str], model: str, message: str, *, none: bool
) -> None:
    with pytest.raises(InvalidInput, match=message):
        Masking.of(kinds, none=none, model=model)


@pytest.mark.parametrize(
    ("masking", "warning"),
    [
        (Masking(), "names of persons, places and organisations are not masked: register"),
        (Masking.of([], none=True), "nothing is masked"),
    ],
)
def test_a_source_says_what_it_does_not_mask(masking: Masking, warning: str) -> None:
    [said] = Source(id="cms", project="acme", masking=masking).warnings

    assert said.startswith(warning)
    assert not Source(id="cms", project="acme", masking=Masking.of([], none=False, model="names@1")).warnings


def test_the_strictest_masking_keeps_the_model_of_an_earlier_one() -> None:
    narrow = Masking.of(["person"], none=False, model="names@1")

    assert Masking.strictest(narrow.rules) == Masking.of([], none=False, model="names@1")
    assert Masking.strictest(Masking.of(["email"], none=False, reject=True).rules) == Masking(reject=True)
    assert Masking.strictest(Masking.of(["email"], none=False, pseudonyms=True).rules) == Masking(pseudonyms=True)
    assert Masking.strictest(("email",)) == Masking()


@pytest.mark.parametrize(
    ("kinds", "none", "reject", "message"),
    [
        ([], True, False, "masks nothing"),
        ([], False, True, "stand for what is refused: choose one of both"),
        (["credential"], False, False, "are for other kinds than credential"),
    ],
)
def test_pseudonyms_need_something_to_stand_for(kinds: list[str], message: str, *, none: bool, reject: bool) -> None:
    with pytest.raises(InvalidInput, match=message):
        Masking.of(kinds, none=none, reject=reject, pseudonyms=True)
