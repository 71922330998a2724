from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from libs.cli.tests.commands.access_answers import SEARCH, TOKEN, AccessAnswers
from libs.cli.tests.loop.running import Running
from tidemill.monitor.v1.access_pb2 import API_KEY_STATE_REVOKED, Project, Role, ServiceAccount
from tidemill_client import Tidemill
from tidemill_client.access import KeyWithoutToken
from tidemill_core.errors import NotFound
from tidemill_testkit.access import admin_token

AT = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    services = Running()
    with capture_logs():
        services.start()
        yield services
        services.stop()


@pytest.fixture
async def client(running: Running) -> AsyncIterator[Tidemill]:
    async with Tidemill("acme", running.addresses(), credential=admin_token) as client:
        yield client


@pytest.fixture
def access(running: Running) -> AccessAnswers:
    return running.access


async def test_a_key_comes_with_its_token_once_and_its_repr_without(client: Tidemill, access: AccessAnswers) -> None:
    issued = await client.access.keys.create("laptop", "ci", scopes=[SEARCH], expire_time=AT)
    revoked = await client.access.keys.revoke("laptop")

    assert issued.token == TOKEN
    assert TOKEN not in repr(issued) + str(issued)
    assert issued.key.expire_time.ToDatetime(UTC) == AT
    assert revoked.state == API_KEY_STATE_REVOKED
    assert [each.id async for each in client.access.keys.all(service_account="ci")] == ["laptop"]
    assert access.asked[-1].filter == 'service_account = "ci"'
    assert (await client.access.keys.get("laptop")).id == (await client.access.keys.delete("laptop")).id


async def test_a_key_whose_token_was_lost_is_reported(client: Tidemill, access: AccessAnswers) -> None:
    access.token = ""

    with pytest.raises(KeyWithoutToken, match="delete it, create another"):
        await client.access.keys.create("laptop", "ci")


async def test_members_are_added_changed_and_removed_by_their_subject(client: Tidemill, access: AccessAnswers) -> None:
    await client.access.members.add("group:staff", "viewer")
    access.stored["member"].subject = "user:ada"
    await client.access.members.change("user:ada", "operator")
    await client.access.members.remove("user:ada")

    assert access.asked[0].member.subject == "group:staff"
    assert (access.asked[-1].id, access.asked[-1].etag) == ("m-1", "3")
    with pytest.raises(NotFound, match="user:bob is no member"):
        await client.access.members.of("user:bob")


async def test_every_kind_is_created_read_changed_and_deleted(client: Tidemill, access: AccessAnswers) -> None:
    own = client.access
    await own.projects.create(Project(id="acme"), admin="user:ada")
    assert access.asked[-1].admin == "user:ada"
    await own.roles.create(Role(id="searcher"))
    await own.service_accounts.update(ServiceAccount(id="ci", roles=["viewer"]), "roles")
    assert list(access.asked[-1].update_mask.paths) == ["roles"]
    assert access.asked[-1].request_id

    for kind, name in ((own.projects, "acme"), (own.roles, "searcher"), (own.service_accounts, "ci")):
        assert [each.id async for each in kind.all()] == [name]
        assert (await kind.get(name)).id == (await kind.delete(name)).id == name
    assert (await own.whoami()).subject == "user:ada"
