"""What topics.yaml must say."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tidemill_local.topics import Topic, TopicRefused, declared

ROOT = Path(__file__).resolve().parents[3]


def topic(**changes: object) -> Topic:
    given = {
        "name": "tidemill.test.thing.v1",
        "owner": "test",
        "kind": "events",
        "key": "any",
        "partitions": 1,
        "retention": "7d",
        "max_bytes": 1000,
        "production": {"replication": 3, "min_insync_replicas": 2},
    }
    return Topic.model_validate(given | changes)


def test_no_topic_is_declared_twice_and_each_belongs_to_a_service() -> None:
    names = [each.name for each in declared()]
    assert len(names) == len(set(names))
    assert {each.owner for each in declared()} <= {file.parent.name for file in ROOT.glob("services/*/pyproject.toml")}
    assert all(each.name.split(".")[1] == each.owner for each in declared())


def test_dead_letters_have_headroom_over_every_other_topic() -> None:
    largest = max(each.max_bytes for each in declared() if each.kind != "dead-letters")
    assert all(each.max_bytes > 2 * largest for each in declared() if each.kind == "dead-letters")


def test_unmasked_text_expires_alike_on_its_way_and_as_dead_letters() -> None:
    retention = {each.name: each.retention_ms for each in declared()}
    assert retention["tidemill.ingest.submission.v1"] == retention["tidemill.ingest.submissions.dead.v1"]


def test_in_production_a_record_is_acknowledged_by_two_of_three_and_here_by_the_only_one() -> None:
    there, here = topic().to_create(), topic().to_create(copies=1)
    assert (there.replication_factor, there.topic_configs["min.insync.replicas"]) == (3, "2")
    assert (here.replication_factor, here.topic_configs["min.insync.replicas"]) == (1, "1")


def test_only_topics_of_state_are_compacted() -> None:
    policies = {(each.kind == "state", each.to_create().topic_configs["cleanup.policy"]) for each in declared()}
    assert policies == {(True, "compact"), (False, "delete")}


def test_a_deleted_key_of_a_compacted_topic_is_seen_for_a_day_at_least() -> None:
    states = [each.to_create().topic_configs for each in declared() if each.kind == "state"]
    assert all(int(config["delete.retention.ms"]) >= 24 * 3600 * 1000 for config in states)


def test_a_retention_is_hours_or_days() -> None:
    assert topic(retention="36h").retention_ms == 36 * 3600 * 1000
    with pytest.raises(TopicRefused, match="write hours or days, for example 36h or 7d"):
        _ = topic(retention="a week").retention_ms


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="partitons"):
        topic(partitons=3)
