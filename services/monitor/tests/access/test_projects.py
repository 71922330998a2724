import pytest

from services.monitor.tests.access.harness import ADA, EVE, OWNER, Access, write
from tidemill_core.application import Caller, PageRequest, ResourceKey
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tidemill_monitor.access.domain.project import Project, ProjectState
from tidemill_monitor.access.domain.revocations import CredentialKind
from tidemill_monitor.errors import ProjectIsDeleted, ProjectNotFound, ProjectsExhausted, UnderLegalHold
from tidemill_monitor.holds.domain import Hold


def project(name: str, **fields: object) -> Project:
    return Project(id=name, project=name, **fields)  # type: ignore[arg-type]


async def test_who_creates_a_project_is_its_first_admin_unless_another_one_is_named() -> None:
    access = Access()

    own = await access.projects.create(OWNER, project("acme"), "", write())
    named = await access.projects.create(OWNER, project("globex"), "group:globex-admins", write())
    by_a_program = await access.projects.create(
        Caller(project="x", subject="service_account:setup"), project("initech"), "", write()
    )

    assert [(each.subject, each.roles) for each in own.members] == [("user:root", ("admin",))]
    assert [each.subject for each in named.members] == ["group:globex-admins"]
    assert by_a_program.members == ()


async def test_a_project_is_not_found_by_those_of_another_and_the_text_is_that_of_an_absent_one() -> None:
    access = Access()
    await access.with_project(ADA)
    texts = []

    for name in ("acme", "absent"):
        for call in (
            access.projects.get(EVE, name),
            access.projects.update(EVE, project(name), frozenset({"labels"}), write()),
            access.projects.delete(EVE, name, write()),
        ):
            with pytest.raises(ProjectNotFound) as refused:
                await call
            texts.append((refused.value.message.replace(name, "?"), refused.value.reason))

    assert len(set(texts)) == 1
    assert (await access.projects.get(OWNER, "acme")).id == "acme"


async def test_an_installation_admin_lists_all_projects_page_by_page_and_others_see_their_own() -> None:
    access = Access()
    for name in ("globex", "acme"):
        await access.projects.create(OWNER, project(name), "", write())

    first = await access.projects.list(OWNER, PageRequest(size=1))
    second = await access.projects.list(OWNER, PageRequest(size=1, token=first.next_token))

    assert [each.id for page in (first, second) for each in page.items] == ["acme", "globex"]
    assert second.next_token == ""
    assert [each.id for each in (await access.projects.list(EVE, PageRequest())).items] == ["globex"]
    assert not (await access.projects.list(Caller(project="absent"), PageRequest())).items


async def test_a_deleted_project_is_revoked_at_once_and_its_id_is_never_given_again() -> None:
    access = Access()
    await access.with_project()

    deleted = [await access.projects.delete(OWNER, "acme", write()) for _ in range(2)]

    assert {each.state for each in deleted} == {ProjectState.DELETING}
    (revocation,) = access.revoked
    assert (revocation.kind, revocation.id, revocation.record_key) == (
        CredentialKind.PROJECT,
        "acme",
        "project/acme/acme",
    )
    assert revocation.expire_time > revocation.revoke_time + access.lifetimes.keys
    with pytest.raises(AlreadyExists):
        await access.with_project()
    for refused in (
        access.with_member("user:bob"),
        access.with_account(),
        access.with_role(),
        access.projects.update(ADA, project("acme", display_name="x"), frozenset({"display_name"}), write()),
    ):
        with pytest.raises(ProjectIsDeleted):
            await refused


async def test_a_project_is_not_deleted_while_anything_of_it_is_held_and_then_its_data_is_erased() -> None:
    access = Access()
    await access.with_project()
    access.holds.of["acme"] = [Hold(id="case-1", project="acme", document="d")]

    for validate_only in (True, False):
        with pytest.raises(UnderLegalHold, match="case-1"):
            await access.projects.delete(OWNER, "acme", write(validate_only=validate_only))
    assert (await access.projects.get(OWNER, "acme")).state is ProjectState.ACTIVE
    access.holds.of.clear()
    await access.projects.delete(OWNER, "acme", write(validate_only=True))
    assert access.erased == []
    deleted = await access.projects.delete(OWNER, "acme", write())

    assert access.erased == [ResourceKey(project="acme", id="acme")]
    assert deleted.deletion is not None
    assert (deleted.deletion.requester, deleted.deletion.time) == ("user:root", access.clock.now())


async def test_bad_fields_of_a_project_are_named_with_value_and_rule() -> None:
    access = Access()

    with pytest.raises(InvalidInput) as refused:
        await access.projects.create(OWNER, project("Not_a_slug", display_name="x" * 1001), "", write())

    fields = {each.field: each.description for each in refused.value.violations}
    assert "'Not_a_slug'" in fields["project.id"]
    assert fields["project.display_name"] == "has 1001 characters, and 1000 is the limit"
    with pytest.raises(InvalidInput, match="user:<name> or group:<name>"):
        await access.projects.create(OWNER, project("acme"), "ada", write())


async def test_the_number_of_projects_is_limited_and_a_repeated_request_is_not_refused_by_it() -> None:
    access = Access(max_projects=1)
    first = await access.projects.create(OWNER, project("acme"), "", write("r1"))

    assert await access.projects.create(OWNER, project("acme"), "", write("r1")) == first
    with pytest.raises(ProjectsExhausted, match=r"1 projects, which is the limit.*MONITOR_MAX_PROJECTS"):
        await access.projects.create(OWNER, project("globex"), "", write())


async def test_deleted_projects_do_not_count() -> None:
    access = Access(max_projects=1)
    await access.projects.create(OWNER, project("acme"), "", write())
    await access.projects.delete(OWNER, "acme", write())

    created = await access.projects.create(OWNER, project("globex"), "", write())
    assert created.id == "globex"
    with pytest.raises(ProjectsExhausted):
        await access.projects.create(OWNER, project("initech"), "", write())


async def test_a_project_is_changed_by_its_etag_and_validating_changes_nothing() -> None:
    access = Access()
    await access.with_project()
    renamed, fields = project("acme", display_name="Acme"), frozenset({"display_name"})

    seen = await access.projects.update(ADA, renamed, fields, write(validate_only=True))
    assert (seen.display_name, (await access.projects.get(ADA, "acme")).display_name) == ("Acme", "")
    changed = await access.projects.update(ADA, renamed, fields, write(etag="1"))

    assert changed.members
    with pytest.raises(Conflict):
        await access.projects.delete(OWNER, "acme", write(etag="1"))
    with pytest.raises(NotFound):
        await access.projects.get(OWNER, "absent")
