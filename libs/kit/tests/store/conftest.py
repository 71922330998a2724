"""The stores of notes that the suites of this folder run on."""

import pytest

from libs.kit.tests.notes import QUOTA, Note, NoteCodec, NoteNotFound, notes_in
from tidemill_core.application import Aggregates
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def memory_notes(clock: FixedClock) -> Aggregates[Note]:
    return InMemoryAggregates(codec=NoteCodec(), missing=NoteNotFound, clock=clock, quota=QUOTA)


@pytest.fixture
async def mongo_notes(database: Database, clock: FixedClock) -> Aggregates[Note]:
    notes = notes_in(database, clock=clock, quota=QUOTA)
    await notes.ensure_indexes()
    return notes


@pytest.fixture(params=["memory_notes", pytest.param("mongo_notes", marks=pytest.mark.server)])
def notes(request: pytest.FixtureRequest) -> Aggregates[Note]:
    store: Aggregates[Note] = request.getfixturevalue(request.param)
    return store
