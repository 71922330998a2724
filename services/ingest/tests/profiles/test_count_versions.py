"""Stored versions are counted in the profile of their source: each once, whatever happens meanwhile."""

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from services.ingest.tests.fakes import ACME, Ingest, spec, submitted
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.profiles.domain.sketch import Sketch
from tidemill_ingest.quality.policy import DuplicatePolicy, Quality
from tidemill_ingest.sources.domain import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tidemill_ingest.profiles.domain.versions import NewVersion

TEXT = "Write to ada@acme.example when the printer on the third floor needs another cartridge than the old one."
DAY = date(2026, 1, 1)
WRITES = ("save", "remove", "finish")


class Killed(BaseException):
    """The process ended."""


def whole(ingest: Ingest) -> Sketch:
    found = Sketch()
    for each in ingest.profiles.sketches.stored.values():
        found.merge(each.sketch)
    return found


async def counted(ingest: Ingest) -> Sketch:
    await ingest.counting()("acme", "cms")
    return whole(ingest)


async def stored(ingest: Ingest, count: int) -> None:
    for number in range(count):
        await ingest.accept(ACME, submitted(f"{TEXT} {number}", of=spec(f"kb/{number}")))


@pytest.fixture
async def ingest() -> Ingest:
    return await Ingest().with_source()


async def test_a_stored_version_is_counted_by_what_it_is(ingest: Ingest) -> None:
    await ingest.accept(ACME, submitted(f"# Printer\n\n{TEXT}", of=spec(title="Printer")))
    assert [(each.project, each.id) for each in ingest.profiles.to_count] == [("acme", "cms")]

    found = await counted(ingest)

    assert found.count == 1
    assert found.categories == {
        "language": {"en": 1},
        "media_type": {"text/markdown": 1},
        "channel": {"grpc": 1},
        "outcome": {"published": 1},
        "duplicate": {"none": 1},
        "identifiers": {"email": 1},
        "with_identifiers": {"email": 1},
        "fields": {"title": 1},
    }
    assert {name: each.total for name, each in found.numbers.items()} == {
        "characters": len(f"# Printer\n\n{TEXT}") - len("ada@acme.example") + len("[EMAIL]"),
        "words": 18,
        "identifiers": 1,
    }
    assert ingest.profiles.versions.stored == {}


async def test_what_is_withheld_is_counted_with_its_reasons() -> None:
    quality = Quality(min_characters=40, duplicates=DuplicatePolicy.LINK)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=quality))
    for key, text in (("kb/1", TEXT), ("kb/2", TEXT), ("kb/3", "Too short.")):
        await ingest.accept(ACME, submitted(text, of=spec(key)))

    found = await counted(ingest)

    assert found.counts("outcome") == {"published": 1, "withheld": 2}
    assert found.counts("withheld_for") == {"DUPLICATE": 1, "TEXT_TOO_SHORT": 1}
    assert found.counts("duplicate") == {"none": 2, "exact": 1}


async def test_the_same_request_again_is_counted_once(ingest: Ingest) -> None:
    one, other = submitted("One text.", request_id="r-1"), submitted("Another text.", request_id="r-2")
    await ingest.accept(ACME, one)
    await counted(ingest)
    ingest.clock.advance(timedelta(seconds=1))
    await ingest.accept(ACME, other)
    await ingest.accept(ACME, one)  # the document has another text by now, so this one is prepared and stored again
    assert len(ingest.profiles.versions.stored) == 2

    found = await counted(ingest)

    assert found.count == 2
    assert ingest.profiles.versions.stored == {}


async def test_what_is_never_saved_is_never_counted(ingest: Ingest) -> None:
    async def down(*_: object, **__: object) -> None:
        message = "MongoDB does not answer"
        raise DependencyUnavailable(message, dependency="mongodb")

    save, ingest.documents.add = ingest.documents.add, down  # type: ignore[method-assign, assignment]
    with pytest.raises(DependencyUnavailable):
        await ingest.accept(ACME, submitted(TEXT))
    ingest.documents.add = save  # type: ignore[method-assign]

    assert (await counted(ingest)).count == 0
    assert len(ingest.profiles.versions.stored) == 1
    ingest.clock.advance(ingest.limits.unsaved_after + timedelta(seconds=1))
    assert (await counted(ingest)).count == 0
    assert ingest.profiles.versions.stored == {}


async def test_what_is_saved_late_is_counted_when_it_is(ingest: Ingest) -> None:
    await ingest.accept(ACME, submitted(TEXT))
    ((key, (due, version)),) = ingest.profiles.versions.stored.items()
    document = ingest.documents.all()[0]
    ingest.documents.remove("acme", document.id)
    assert (await counted(ingest)).count == 0
    assert ingest.profiles.versions.stored[key][0] > due

    ingest.clock.advance(timedelta(minutes=1))
    await ingest.accept(ACME, submitted("Another text."))
    await ingest.profiles.versions.add("acme", version)
    assert (await counted(ingest)).count == 1


async def test_a_kill_at_any_moment_counts_each_version_once() -> None:
    for write in WRITES:
        for after in (False, True):
            ingest = await Ingest().with_source()
            await stored(ingest, 3)
            await interrupted(ingest, write, after=after)
            await stored(ingest, 5)  # two more, and three that change nothing

            found = await counted(ingest)

            assert (write, after, found.count) == (write, after, 5)
            assert ingest.profiles.versions.stored == {}
            assert all(not each.counted for each in ingest.profiles.sketches.stored.values())


async def interrupted(ingest: Ingest, write: str, *, after: bool) -> None:
    """Count, and be killed before or after a write."""
    store = ingest.profiles.versions if write == "remove" else ingest.profiles.sketches
    done: Callable[..., Awaitable[object]] = getattr(store, write)

    async def killed(*given: object, **named: object) -> None:
        if after:
            await done(*given, **named)
        raise Killed

    setattr(store, write, killed)
    with pytest.raises(Killed):
        await ingest.counting()("acme", "cms")
    setattr(store, write, done)


async def test_two_that_count_at_the_same_time_count_each_version_once(ingest: Ingest) -> None:
    await stored(ingest, 3)
    read = ingest.profiles.sketches.get

    async def overtaken(project: str, source: str, day: date) -> object:
        found = await read(project, source, day)
        ingest.profiles.sketches.get = read  # type: ignore[method-assign]
        await ingest.counting()("acme", "cms")
        await ingest.profiles.versions.add("acme", waiting[0])  # what this one has read before the other removed it
        return found

    waiting: list[NewVersion] = [version for _, version in ingest.profiles.versions.stored.values()]
    ingest.profiles.sketches.get = overtaken  # type: ignore[method-assign, assignment]
    again = await ingest.counting()("acme", "cms")

    assert again is not None
    assert whole(ingest).count == 3


async def test_versions_of_several_days_are_counted_on_their_days_and_old_days_go(ingest: Ingest) -> None:
    count = ingest.counting(keep_days=2)
    for number in range(4):
        await ingest.accept(ACME, submitted(f"{TEXT} {number}", of=spec(f"kb/{number}")))
        ingest.clock.advance(timedelta(days=1))
        if number == 1:
            await count("acme", "cms")

    await count("acme", "cms")

    days = {day: each.sketch.count for (_, _, day), each in ingest.profiles.sketches.stored.items()}
    assert days == {DAY + timedelta(days=number): 1 for number in (1, 2, 3)}


async def test_nothing_is_counted_of_a_deleted_project_and_what_was_to_be_is_forgotten(ingest: Ingest) -> None:
    await stored(ingest, 1)
    ingest.projects.gone.add("acme")
    ingest.projects.spared.add("acme")

    assert (await counted(ingest)).count == 0
    assert len(ingest.profiles.versions.stored) == 1
    ingest.projects.spared.clear()
    assert (await counted(ingest)).count == 0
    assert ingest.profiles.versions.stored == {}


async def test_a_trial_is_not_counted(ingest: Ingest) -> None:
    trial = submitted(TEXT)
    await ingest.accept(ACME, replace(trial, validate_only=True))

    assert ingest.profiles.versions.stored == {}
