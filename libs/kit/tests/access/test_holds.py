"""Legal holds and retention as they are read from the access topic."""

import json
from datetime import timedelta

import pytest

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.access.holds import Hold, Holds, LegalHold, Scope
from tidemill_kit.access.retention import Retention, RetentionKind
from tidemill_kit.access.revocations import Revocations

READ = Revocations(monotonic=lambda: 0.0)
READ.complete = True


def hold(seq: int = 1, **changes: object) -> bytes:
    return json.dumps({"id": "h", "project": "acme", "seq": str(seq), **changes}).encode()


def retention(seq: int = 1, days: int = 30, **changes: object) -> bytes:
    given = {"project": "acme", "kind": "RETENTION_KIND_ANSWERS", "days": days, "seq": str(seq)}
    return json.dumps({**given, **changes}).encode()


def test_holds_are_known_by_their_newest_record() -> None:
    holds = Holds(READ)

    assert holds.apply(hold(2))
    assert holds.apply(hold(1, released=True))  # older
    assert holds.covers("acme", Scope.PROJECT) == Hold(id="h", project="acme")
    assert holds.apply(hold(3, released=True))
    assert holds.covers("acme", Scope.PROJECT) is None


def test_the_release_of_one_hold_leaves_the_others() -> None:
    holds = Holds(READ)
    for each in (hold(id="a"), hold(id="b", end_user="u-1"), hold(2, id="a", released=True)):
        holds.apply(each)

    assert holds.covers("acme", Scope.END_USER, "u-1") == Hold(id="b", project="acme", end_user="u-1")
    assert holds.covers("acme", Scope.END_USER, "u-2") is None


@pytest.mark.parametrize("value", [b"", b"nothing", b'{"id": "h"}'])
def test_what_is_no_hold_or_retention_is_said_to_be_unreadable(value: bytes) -> None:
    assert not Holds(READ).apply(value)
    assert not Retention().apply(value)


@pytest.mark.parametrize("name", ["u-1 ", " u-1", "u-1\u200b", "u\u00ad-1"])
def test_a_hold_covers_its_end_user_however_the_name_is_written(name: str) -> None:
    holds = Holds(READ)
    holds.apply(hold(end_user="u-1"))

    assert holds.covers("acme", Scope.END_USER, name) is not None
    with pytest.raises(LegalHold):
        holds.check("acme", {Scope.END_USER: name})
    unclean = Holds(READ)
    unclean.apply(hold(end_user=name))
    assert unclean.covers("acme", Scope.END_USER, "u-1") is not None


def test_a_hold_that_cannot_be_read_holds_its_project_until_a_readable_one_is_there() -> None:
    holds = Holds(READ)
    holds.apply(hold(2, end_user="u-1"), key="hold/acme/h")

    assert not holds.apply(b"of a newer release", key="hold/acme/h")
    holds.apply(hold(1, end_user="u-1"), key="hold/acme/h")  # the topic is read from its beginning again
    assert holds.covers("acme", Scope.END_USER, "u-2") == Hold(id="h", project="acme")
    assert not holds.spares("globex")
    holds.apply(hold(2, end_user="u-1"), key="hold/acme/h")
    assert holds.covers("acme", Scope.END_USER, "u-2") is None
    assert holds.covers("acme", Scope.END_USER, "u-1") is not None


def test_what_erases_is_refused_while_the_holds_of_now_are_not_known() -> None:
    age = [0.0]
    revocations = Revocations(monotonic=lambda: age[0])
    holds = Holds(revocations)

    for revocations.complete, age[0] in ((False, 0.0), (True, 31.0)):
        with pytest.raises(DependencyUnavailable, match="legal holds"):
            holds.check("globex", {})
    age[0] = 0.0
    holds.check("globex", {})


def test_a_project_is_spared_while_anything_of_it_is_held_or_that_is_not_known() -> None:
    holds, unread = Holds(READ), Holds(Revocations(monotonic=lambda: 0.0))
    holds.apply(hold(document="d-1"))

    assert holds.spares("acme")
    assert not holds.spares("globex")
    assert unread.spares("globex")


def test_what_is_known_of_holds_counts_for_seconds_only() -> None:
    age = [0.0]
    revocations = Revocations(monotonic=lambda: age[0])
    holds = Holds(revocations)

    known = []
    for complete, age[0] in ((False, 0.0), (True, 0.0), (True, 31.0)):
        revocations.complete = complete
        known.append((holds.current, holds.spares("globex")))
    assert known == [(False, True), (True, False), (False, True)]


def test_a_projects_retention_is_that_of_its_newest_record() -> None:
    retentions = Retention()
    for each in (retention(2, 7), retention(1, 30), retention(1, 90, project="globex")):
        assert retentions.apply(each)

    assert retentions.of("acme", RetentionKind.ANSWERS) == timedelta(days=7)
    assert retentions.of("acme", RetentionKind.FEEDBACK) is None
    assert retentions.projects(RetentionKind.ANSWERS) == {"acme": timedelta(days=7), "globex": timedelta(days=90)}
    assert retentions.apply(retention(3, 0))
    assert retentions.of("acme", RetentionKind.ANSWERS) is None
    assert retentions.apply(retention(4, 7, kind="RETENTION_KIND_OF_A_NEWER_RELEASE"))


def test_the_kinds_are_those_of_the_contract() -> None:
    from tidemill.monitor.v1.retention_pb2 import RetentionKind as Declared  # noqa: PLC0415 - of this test alone

    assert {f"RETENTION_KIND_{kind}" for kind in RetentionKind} | {"RETENTION_KIND_UNSPECIFIED"} == set(Declared.keys())
