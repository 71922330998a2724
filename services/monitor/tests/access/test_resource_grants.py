"""A project lets another one read one resource, and takes that back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from services.monitor.tests.access.harness import ADA, EVE, OWNER, Access, write
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import AlreadyExists, InvalidInput
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_monitor.access.domain.project import Project
from tidemill_monitor.access.domain.resource_grant import GrantChanged, ResourceGrant, ResourceKind, grant_id_of
from tidemill_monitor.access.messages import GRANT_CHANGED, TOPIC, access_payload
from tidemill_monitor.access.mongo import PROJECTS, RESOURCE_GRANTS, MongoCatalogue
from tidemill_monitor.errors import GrantNotFound, ProjectIsDeleted, ProjectNotFound
from tidemill_testkit.clocks import NOON

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"


def grant(**changes: object) -> ResourceGrant:
    given = {"kind": ResourceKind.PROMPT, "resource": "support", "grantee": "globex", **changes}
    return ResourceGrant(id="", project="acme", **given)  # type: ignore[arg-type]


async def ready() -> Access:
    access = Access()
    await access.with_project()
    return access


def published(access: Access) -> list[GrantChanged]:
    return [event for event in access.grant_store.published if isinstance(event, GrantChanged)]


async def test_a_grant_is_given_once_and_again_after_it_was_revoked() -> None:
    access = await ready()
    given = await access.resource_grants.create(ADA, grant(), write())
    with pytest.raises(AlreadyExists):
        await access.resource_grants.create(ADA, grant(description="other"), write())
    await access.resource_grants.revoke(ADA, given.id, write())
    with pytest.raises(GrantNotFound):
        await access.resource_grants.revoke(ADA, given.id, write())

    again = await access.resource_grants.create(ADA, grant(description="other"), write())

    assert (again.id, again.description) == (given.id, "other")
    assert [each.revoked for each in published(access)] == [False, True, False]
    assert {each.record_key for each in published(access)} == {f"grant/acme/{given.id}"}


async def test_a_repeated_request_changes_nothing_and_validating_does_not_either() -> None:
    access = await ready()
    await access.resource_grants.create(ADA, grant(), write(validate_only=True))
    first, again = [await access.resource_grants.create(ADA, grant(), write("r1")) for _ in range(2)]

    assert first == again
    assert len(published(access)) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"resource": ""}, "grant.resource"),
        ({"resource": "globex/x"}, "grant.resource"),
        ({"grantee": "*"}, "grant.grantee"),
        ({"grantee": ""}, "grant.grantee"),
        ({"grantee": "acme"}, "grant.grantee"),
        ({"description": "x" * 1001}, "grant.description"),
    ],
)
async def test_what_is_no_grant_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    access = await ready()

    with pytest.raises(InvalidInput) as refused:
        await access.resource_grants.create(ADA, grant(**changes), write())

    assert [each.field for each in refused.value.violations] == [field]


async def test_a_deleted_project_gives_nothing() -> None:
    access = await ready()
    await access.projects.delete(OWNER, "acme", write())

    with pytest.raises(ProjectIsDeleted):
        await access.resource_grants.create(ADA, grant(), write())


async def test_what_others_let_a_deleted_project_read_is_revoked_behind_pages_of_deleted_owners_too() -> None:
    access = await ready()
    await access.projects.delete(OWNER, "acme", write())
    for owner, names in (("acme", range(60)), ("initech", range(1))):
        for name in names:
            fresh = replace(grant(), id=f"of-{name}", project=owner)
            await access.grant_store.add(fresh, request=Request.internal())

    revoked = [await access.resource_grants.revoke_received("globex") for _ in range(2)]

    assert revoked == [1, 0]
    assert [(each.record_key, each.revoked) for each in published(access)] == [("grant/initech/of-0", True)]


async def test_another_project_s_grant_is_as_an_absent_one() -> None:
    access = await ready()
    given = await access.resource_grants.create(ADA, grant(), write())
    absent = grant_id_of("acme", ResourceKind.MODEL, "support", "globex")

    texts = set()
    for caller, name in ((EVE, given.id), (EVE, absent)):
        with pytest.raises(GrantNotFound) as refused:
            await access.resource_grants.revoke(caller, name, write())
        texts.add(refused.value.message.replace(name, "?"))

    assert len(texts) == 1


async def test_what_is_published_equals_its_example_and_services_read_it() -> None:
    access = await ready()
    await access.resource_grants.create(ADA, grant(), write())

    ce_type, payload = access_payload(grant(), published(access)[0], 1)

    example = (EXAMPLES / f"{GRANT_CHANGED}.json").read_text()
    assert ce_type == GRANT_CHANGED
    assert MessageToDict(payload, preserving_proto_field_name=True) == json.loads(example)
    known = Grants(Revocations())
    assert known.apply(example.encode())
    assert known.resolve("globex", Shared.PROMPT, "acme/support") == ("acme", "support")


async def test_the_catalogue_is_read_by_pages_across_the_owners_and_without_deleted_ones(database: Database) -> None:
    grants = MongoAggregates(
        database["grants"], codec=RESOURCE_GRANTS, topic=TOPIC, source="/tidemill/monitor", missing=GrantNotFound
    )
    projects = MongoAggregates(
        database["projects"], codec=PROJECTS, topic=TOPIC, source="/tidemill/monitor", missing=ProjectNotFound
    )
    catalogue = MongoCatalogue(database["grants"], database["projects"])
    await catalogue.ensure_indexes()
    for owner, grantee in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "x")):
        fresh = replace(grant(), id=f"of-{owner}", project=owner, grantee=grantee)
        await grants.add(fresh, request=Request.internal())

    first = await catalogue.list("x", PageRequest(size=2))
    second = await catalogue.list("x", PageRequest(size=2, token=first.next_token))
    assert [[each.project for each in page.items] for page in (first, second)] == [["a", "b"], ["d"]]
    assert second.next_token == ""
    with pytest.raises(InvalidInput, match="page_token"):
        await catalogue.list("y", PageRequest(token=first.next_token))

    deleted = Project(id="b", project="b")
    deleted.begin_deletion(now=NOON, lifetime=NOON - NOON)
    await projects.add(deleted, request=Request.internal())
    assert [each.project for each in (await catalogue.list("x", PageRequest())).items] == ["a", "d"]


async def test_the_owner_sees_when_the_other_project_last_used_what_it_shares() -> None:
    access = await ready()
    used, unused = [
        await access.resource_grants.create(ADA, grant(grantee=name), write()) for name in ("globex", "initech")
    ]

    await access.record_use(ADA, {used.credential: NOON})
    await access.record_use(replace(ADA, project="globex"), {unused.credential: NOON})

    found = (await access.resource_grants.list(ADA, PageRequest())).items
    assert {each.grant.grantee: each.last_use_time for each in found} == {"globex": NOON, "initech": None}
