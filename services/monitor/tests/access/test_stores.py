"""Access on a real database: what is stored, listed and announced."""

from datetime import timedelta

import pytest
from bson import encode

from services.monitor.tests.access.harness import ADA, Access, write
from tidemill.monitor.v1 import access_pb2 as pb
from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import InvalidInput
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_monitor.access.domain.api_key import ApiKey
from tidemill_monitor.access.domain.project import Member, Project
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.access.messages import TOPIC
from tidemill_monitor.access.mongo import API_KEYS, INSTALLATIONS, KEY_LISTS, PROJECTS, MongoAllProjects
from tidemill_monitor.access.revoke_tokens import RevokeTokens
from tidemill_monitor.errors import ApiKeyNotFound, ProjectNotFound
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.mapping import unsent


def projects_in(database: Database) -> MongoAggregates[Project]:
    return MongoAggregates(
        database["projects"], codec=PROJECTS, topic=TOPIC, source="/tidemill/monitor", missing=ProjectNotFound
    )


async def test_a_project_is_read_with_its_members_as_it_was_saved(database: Database) -> None:
    projects = projects_in(database)
    await projects.ensure_indexes()
    fresh = Project(
        id="acme",
        project="acme",
        members=(Member(id="m", subject="user:a.b@c.d", roles=("admin",), create_time=NOON, update_time=NOON),),
        revoked={"user:x.y@z": NOON},
    )

    saved = await projects.add(fresh, request=Request.internal())

    assert await projects.get("acme", "acme") == saved
    assert (saved.members, saved.revoked) == (fresh.members, fresh.revoked)


async def test_all_projects_are_listed_by_id_whatever_their_age(database: Database) -> None:
    projects, every = projects_in(database), MongoAllProjects(database["projects"])
    for name in ("b", "a-b", "a", "c"):
        await projects.add(Project(id=name, project=name), request=Request.internal())

    listed, token = [], ""
    while True:
        page = await every.list(PageRequest(size=2, token=token))
        listed += [each.id for each in page.items]
        if not (token := page.next_token):
            break

    assert sorted(listed) == ["a", "a-b", "b", "c"]
    assert len(listed) == 4
    assert (await every.count(limit=3), await every.count(limit=9)) == (3, 4)

    def delete(project: Project) -> None:
        project.begin_deletion(now=NOON, lifetime=timedelta(hours=1))

    await projects.update("b", "b", delete, request=Request.internal())
    assert await every.count(limit=9) == 3, "a deleted one is not in use"
    with pytest.raises(InvalidInput, match="page_token"):
        await every.list(PageRequest(token="other"))  # noqa: S106 - of a page


async def test_a_list_of_projects_reads_no_members_and_ends_where_a_reply_would_be_too_large(
    database: Database,
) -> None:
    projects, every = projects_in(database), MongoAllProjects(database["projects"])
    member = Member(id="m", subject="user:ada", roles=("admin",), create_time=NOON, update_time=NOON)
    for name in ("a", "b", "c"):
        large = Project(id=name, project=name, display_name="x" * 2_000_000, members=(member,))
        await projects.add(large, request=Request.internal())

    first = await every.list(PageRequest())
    second = await every.list(PageRequest(token=first.next_token))

    assert [each.id for each in (*first.items, *second.items)] == ["a", "b"]
    assert first.items[0].members == ()


async def test_revocations_of_one_project_have_a_record_key_each(database: Database) -> None:
    projects = projects_in(database)
    await projects.add(Project(id="acme", project="acme"), request=Request.internal())
    names = ("user:b", "user:c")

    def revoke(project: Project) -> None:
        for name in names:
            project._revoke(name, now=NOON, lifetime=timedelta(hours=1))  # noqa: SLF001 - as removals do

    await projects.update("acme", "acme", revoke, request=Request.internal())

    document = await database["projects"].find_one({"_id": "acme/acme"})
    assert document is not None
    assert [each["key"] for each in document["outbox"]] == [f"subject/acme/{name}" for name in names]


async def test_revocations_of_all_projects_are_saved_with_those_before(database: Database) -> None:
    installations = MongoAggregates(
        database["installation"], codec=INSTALLATIONS, topic=TOPIC, source="/tidemill/monitor", missing=ProjectNotFound
    )
    revoke = RevokeTokens(installations=installations, clock=FixedClock())
    await revoke.subject(ADA, "user:a.b@c.d", write())
    await revoke.token(ADA, "the-id", write())

    saved = await installations.get("*", "installation")
    document = await database["installation"].find_one({"_id": "*/installation"})

    assert [*saved.revoked] == ["user:a.b@c.d"]
    assert document is not None
    assert [each["key"] for each in document["outbox"]] == ["subject/*/user:a.b@c.d", "key/*/the-id"]


async def test_keys_are_listed_by_their_account(database: Database) -> None:
    keys = MongoAggregates(
        database["api_keys"],
        codec=API_KEYS,
        topic=TOPIC,
        source="/tidemill/monitor",
        missing=ApiKeyNotFound,
        lists=KEY_LISTS,
    )
    await keys.ensure_indexes()
    for name, account in (("k1", "ci"), ("k2", "app"), ("k3", "ci")):
        await keys.add(key(name, account), request=Request.internal())

    found = await keys.list("acme", page=PageRequest(), where={"service_account": "ci"})

    assert [each.id for each in found.items] == ["k1", "k3"]


def key(name: str, account: str) -> ApiKey:
    return ApiKey(
        id=name,
        project="acme",
        service_account=account,
        roles=("viewer",),
        credential=name,
        digest="0" * 64,
        issue_time=NOON,
        expire_time=NOON + timedelta(days=1),
    )


async def test_a_stored_key_has_a_digest_in_place_of_its_token() -> None:
    access = Access()
    await access.with_project()
    await access.with_account()
    issued = await access.with_key()

    (stored,) = access.key_store.all()

    document = encode(API_KEYS.encode(stored))
    assert issued.token.encode() not in document
    assert stored.digest.encode() in document
    await access.keys.revoke(ADA, "laptop", write())


def test_what_callers_do_not_see_is_chosen_by_name() -> None:
    assert unsent(pb.Project, Project) == {"project", "members", "removed", "revoked", "deletion"}
    assert unsent(pb.Member, Member) == {"version"}
    assert unsent(pb.ServiceAccount, ServiceAccount) == {"revoked"}
    assert unsent(pb.Role, Role) == {"revoked"}
    assert unsent(pb.ApiKey, ApiKey) == {"digest", "issue_time"}
