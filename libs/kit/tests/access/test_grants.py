"""A project reads what another one shares with it, as long as it does."""

import json

import pytest

from libs.kit.tests.access.support import revocation
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations

READS = ("globex", Shared.PROMPT, "acme/support")


def record(seq: int = 1, **changes: object) -> bytes:
    given = {
        "id": "g",
        "project": "acme",
        "resource_kind": "RESOURCE_KIND_PROMPT",
        "resource": "support",
        "grantee": "globex",
        "seq": str(seq),
    }
    return json.dumps({**given, **changes}).encode()


@pytest.fixture
def grants() -> Grants:
    return Grants(Revocations())


@pytest.mark.parametrize(
    ("project", "kind", "name", "found"),
    [
        ("globex", Shared.PROMPT, "acme/support", ("acme", "support")),
        ("globex", Shared.PROMPT, "support", ("globex", "support")),
        ("globex", Shared.PROMPT, "globex/support", ("globex", "support")),
        ("globex", Shared.MODEL, "acme/support", None),
        ("globex", Shared.PROMPT, "acme/other", None),
        ("globex", Shared.PROMPT, "initech/support", None),
        ("globex", Shared.PROMPT, "acme/support/x", None),
        ("globex", Shared.PROMPT, "/support", None),
        ("initech", Shared.PROMPT, "acme/support", None),
        ("acme", Shared.PROMPT, "globex/support", None),
    ],
)
def test_a_grant_opens_what_it_names_and_nothing_else(
    grants: Grants, project: str, kind: Shared, name: str, found: tuple[str, str] | None
) -> None:
    assert grants.apply(record())

    assert grants.resolve(project, kind, name) == found


def test_the_projects_that_a_resource_is_shared_with_are_known(grants: Grants) -> None:
    grants.apply(record())
    grants.apply(record(id="h", grantee="initech"))
    grants.apply(record(id="i", grantee="umbrella"))
    grants.apply(record(2, id="i", grantee="umbrella", revoked=True))
    grants.apply(record(id="j", grantee="hooli", resource="other"))

    assert grants.readers("acme", Shared.PROMPT, "support") == ["globex", "initech"]
    assert grants.readers("acme", Shared.MODEL, "support") == []


def test_without_a_grant_nothing_of_another_project_is_read(grants: Grants) -> None:
    assert grants.resolve(*READS) is None


def test_a_revoked_grant_ends_and_can_be_given_again(grants: Grants) -> None:
    grants.apply(record(1))
    grants.apply(record(2, revoked=True))
    revoked = grants.resolve(*READS)
    grants.apply(record(3))

    assert revoked is None
    assert grants.resolve(*READS) == ("acme", "support")


def test_a_topic_that_is_read_again_opens_nothing_meanwhile(grants: Grants) -> None:
    grants.apply(record(1))
    grants.apply(record(2, revoked=True))

    grants.apply(record(1))

    assert grants.resolve(*READS) is None


def test_of_a_deleted_project_nothing_is_shared() -> None:
    revocations = Revocations()
    grants = Grants(revocations)
    grants.apply(record())

    revocations.apply(revocation("PROJECT", "acme"))

    assert grants.resolve(*READS) is None


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", record(resource_kind="SECRET"), record(seq=None)])  # type: ignore[arg-type]
def test_a_record_that_cannot_be_read_is_reported_and_opens_nothing(grants: Grants, value: bytes) -> None:
    assert not grants.apply(value)
    assert grants.resolve(*READS) is None


def test_a_revocation_is_no_grant_and_a_grant_no_revocation(grants: Grants) -> None:
    assert not grants.apply(revocation("KEY", "acme", "the-key"))
    assert not Revocations().apply(record())
