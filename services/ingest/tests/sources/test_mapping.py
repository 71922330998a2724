from datetime import UTC, datetime

import pytest

from tidemill.ingest.v1 import source_pb2
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_ingest.sources.mongo import EVENT_BINDINGS, SOURCES
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.mapping import unsent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
IDENTITY = Identity(
    id="cms", project="acme", labels={}, version=1, seq=0, create_time=NOON, update_time=NOON, deleted=False
)


def test_a_source_is_stored_under_the_names_that_it_always_had() -> None:
    stored = {"events": "urn:kb", "masking": ["email", "ip"], "retention_days": 3}
    source = Source(
        **IDENTITY.fields(), events="urn:kb", masking=Masking.of(["ip", "email"], none=False), retention_days=3
    )

    assert SOURCES.encode(source) == stored
    assert SOURCES.decode(IDENTITY, stored, 1) == source


def test_a_source_that_masked_everything_masks_the_kinds_that_came_since() -> None:
    stored = {"masking": ["card", "credential", "email", "iban", "ip", "phone"]}

    assert SOURCES.decode(IDENTITY, stored, 1).masking == Masking()
    assert SOURCES.decode(IDENTITY, stored, 2).masking.names == tuple(stored["masking"])


def test_the_model_that_finds_names_is_stored_with_the_kinds() -> None:
    source = Source(**IDENTITY.fields(), masking=Masking.of(["email", "person"], none=False, model="names@1"))

    assert SOURCES.encode(source)["masking"] == {"kinds": ["email", "person"], "model": "names@1"}
    assert SOURCES.decode(IDENTITY, SOURCES.encode(source), 2) == source


@pytest.mark.parametrize("policy", ["reject", "pseudonyms"])
def test_what_a_source_does_with_personal_data_is_stored(policy: str) -> None:
    masking = Masking.of(["email"], none=False, reject=policy == "reject", pseudonyms=policy == "pseudonyms")
    source = Source(**IDENTITY.fields(), masking=masking)

    assert SOURCES.encode(source)["masking"] == {"kinds": ["email"], policy: True}
    assert SOURCES.decode(IDENTITY, SOURCES.encode(source), 2) == source


def test_a_binding_of_events_is_stored_under_the_names_that_it_always_had() -> None:
    stored = {"events": "urn:kb", "source_id": "cms", "bound_at": NOON}

    assert EVENT_BINDINGS.decode(IDENTITY, stored, 1) == EventBinding(
        **IDENTITY.fields(), events="urn:kb", source_id="cms", bound_at=NOON
    )
    assert EVENT_BINDINGS.encode(EVENT_BINDINGS.decode(IDENTITY, stored, 1)) == stored


def test_all_of_a_source_is_sent() -> None:
    assert unsent(source_pb2.Source, Source) == {"quality_changed", "polling_changed"}
