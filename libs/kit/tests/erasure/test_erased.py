"""What is known of subjects that were erased, on the real store."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill_core.application import Request
from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.codec import ErasureCodec
from tidemill_kit.erasure.erased import ErasedSubjects
from tidemill_kit.erasure.erasures import Erasure, ErasureNotFound
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import NOON

pytestmark = pytest.mark.server


async def test_what_came_of_a_subject_is_erased_until_its_erasure_is_complete(database: Database) -> None:
    rows = MongoAggregates(
        database["erasures"],
        codec=ErasureCodec("rag"),
        topic="topic",
        source="/tidemill/rag",
        missing=ErasureNotFound,
    )
    erased = ErasedSubjects(database["erasures"])
    await erased.ensure_indexes()
    numbers = iter(range(100))

    async def row(subject: str, *, scope: Scope = Scope.END_USER, project: str = "acme") -> Erasure:
        fresh = Erasure(
            id=f"e{next(numbers)}",
            project=project,
            scope=scope,
            subject=subject,
            request_time=NOON,
            not_before=NOON,
        )
        return await rows.add(fresh, request=Request.internal())

    async def begun(subject: str, **place: object) -> Erasure:
        added = await row(subject, **place)  # type: ignore[arg-type] # scope and project
        return await rows.update(
            added.project, added.id, lambda each: each.begin(now=NOON, epoch=1), request=Request.internal()
        )

    async def done(subject: str, at: datetime, **place: object) -> None:
        added = await begun(subject, **place)
        await rows.update(
            added.project, added.id, lambda each: each.complete(now=at, epoch=1), request=Request.internal()
        )

    early, late = NOON + timedelta(minutes=1), NOON + timedelta(minutes=9)
    for at in (late, early):
        await done("twice", at)
    await done("d1", early, scope=Scope.DOCUMENT)
    await done("theirs", early, project="globex")
    await row("waits")
    held = await begun("held")
    await rows.update("acme", held.id, lambda each: each.hold(epoch=1), request=Request.internal())
    await begun("under way")

    asked = ["twice", "d1", "theirs", "waits", "held", "under way", "unknown", ""]
    users = await erased("acme", Scope.END_USER, asked)

    assert users == {"twice": late, "under way": datetime.max.replace(tzinfo=UTC)}
    assert await erased("acme", Scope.DOCUMENT, asked) == {"d1": early}
    assert await erased("acme", Scope.END_USER, []) == {}
    assert await erased.end_users("acme", asked) == users
    await _each_gets_its_own(erased, users, early)


async def _each_gets_its_own(erased: ErasedSubjects, users: Mapping[str, datetime], early: datetime) -> None:
    """Ask one by one at the same time, of several projects and scopes."""
    of_each = await asyncio.gather(
        *(erased("acme", Scope.END_USER, [each]) for each in (*users, "held")),
        erased("acme", Scope.DOCUMENT, ["d1"]),
        erased("globex", Scope.END_USER, ["theirs"]),
    )
    assert [*map(dict, of_each)] == [
        *({each: until} for each, until in users.items()),
        {},
        {"d1": early},
        {"theirs": early},
    ]


async def test_what_is_asked_of_a_project_waits_for_no_other_project() -> None:
    gate, begun = asyncio.Event(), list[str]()

    class Slow:
        def find(self, where: Mapping[str, Any], _fields: object) -> "Slow":
            begun.append(where["project"])
            return self

        async def to_list(self, _length: None) -> list[Any]:
            await gate.wait()
            return []

    rows: Any = Slow()
    erased = ErasedSubjects(rows)
    asked = [asyncio.create_task(erased(f"p{number}", Scope.END_USER, ["u"])) for number in range(20)]
    await asyncio.sleep(0.01)

    assert sorted(begun) == sorted(f"p{number}" for number in range(20))
    gate.set()
    await asyncio.gather(*asked)
