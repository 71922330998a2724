"""projects, members, roles, service-accounts and whoami: who may do what."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from tidemill.monitor.v1.access_pb2 import Member, Project, ProjectState, Role, ServiceAccount
from tidemill.monitor.v1.access_service_pb2 import (
    ListMembersRequest,
    ListProjectsRequest,
    ListRolesRequest,
    ListServiceAccountsRequest,
)
from tidemill_cli.options import Commands, without_project
from tidemill_cli.output import (
    call,
    card,
    moment,
    plain,
    run,
    show,
    table,
    word,
)
from tidemill_cli.pages import SizeOption, TokenOption, lists, show_page
from tidemill_client.access import Access
from tidemill_client.connection import Connection

projects = Commands(help="Projects: list, show, create, update, delete.")
members = Commands(help="People and groups with roles in the project.")
roles = Commands(help="The project's own roles: sets of RPCs.")
service_accounts = Commands(help="Service accounts: the identities of programs.")

T = TypeVar("T")
ProjectArgument = Annotated[str, typer.Argument(help="The project, for example acme.")]
SubjectArgument = Annotated[str, typer.Argument(help="user:NAME or group:NAME, as the identity provider calls them.")]
RoleArgument = Annotated[str, typer.Argument(help="The role, for example searcher.")]
AccountArgument = Annotated[str, typer.Argument(help="The service account, for example ci.")]
RolesOption = Annotated[
    list[str],
    typer.Option("--role", "-r", help="viewer, contributor, operator, admin, or a role of the project; repeatable."),
]
PermissionsOption = Annotated[
    list[str],
    typer.Option(
        "--allow",
        "-a",
        help="An RPC, such as tidemill.rag.v1.RetrievalService/Search, or a right (act_for_users); repeatable.",
    ),
]
DescriptionOption = Annotated[str, typer.Option("--description", "-d", help="What it is for.")]
NameOption = Annotated[str, typer.Option("--display-name", help="A name for people.")]


@projects.command("list")
def list_projects(*, size: SizeOption = 50, token: TokenOption = "") -> None:
    """List the projects that you may see: as an installation admin all, else your own."""
    page = call(lambda c: c.access.ListProjects(ListProjectsRequest(page_size=size, page_token=token)))
    rows = [(p.id, word(ProjectState, p.state), p.display_name, moment(p.create_time)) for p in page.projects]
    picture = table(("project", "state", "name", "created"), rows)
    show_page("projects", page.projects, page.next_page_token, picture)


@projects.command("show")
@without_project
def show_project(name: ProjectArgument) -> None:
    """Show a project."""
    _show_project(_in(name, lambda access: access.projects.get(name)))


@projects.command("create")
@without_project
def create_project(
    name: ProjectArgument,
    *,
    admin: Annotated[str, typer.Option(help="First admin, user:NAME or group:NAME; default: you.")] = "",
    display_name: NameOption = "",
) -> None:
    """Create a project."""
    project = Project(id=name, display_name=display_name)
    _show_project(_in(name, lambda access: access.projects.create(project, admin=admin)))


@projects.command("update")
@without_project
def update_project(name: ProjectArgument, *, display_name: NameOption = "") -> None:
    """Change a project's name for people."""
    project = Project(id=name, display_name=display_name)
    _show_project(_in(name, lambda access: access.projects.update(project, "display_name")))


@projects.command("delete")
@without_project
def delete_project(
    name: ProjectArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Revoke all credentials of a project for good, and erase all that it has; its id is not given again."""
    if not yes:
        typer.confirm(f"Delete project {name} and erase all its data in all services?", abort=True, err=True)
    _show_project(_in(name, lambda access: access.projects.delete(name)))


@members.command("list")
def list_members(*, size: SizeOption = 50, token: TokenOption = "") -> None:
    """List the project's members."""
    page = call(lambda c: c.access.ListMembers(ListMembersRequest(page_size=size, page_token=token)))
    rows = [(m.subject, ", ".join(m.roles), moment(m.create_time)) for m in page.members]
    show_page("members", page.members, page.next_page_token, table(("member", "roles", "since"), rows))


@members.command("add")
def add_member(subject: SubjectArgument, *, role: RolesOption) -> None:
    """Give roles to a person or a group."""
    _show_member(call(lambda c: Access(c).members.add(subject, *role)))


@members.command("update")
def update_member(subject: SubjectArgument, *, role: RolesOption) -> None:
    """Give a member other roles; tokens with roles that it loses are revoked."""
    _show_member(call(lambda c: Access(c).members.change(subject, *role)))


@members.command("remove")
def remove_member(subject: SubjectArgument) -> None:
    """Remove a member and revoke its tokens."""
    _show_member(call(lambda c: Access(c).members.remove(subject)))


@lists(
    roles,
    "list",
    lambda c: c.access.ListRoles,
    ("role", "description", "RPCs"),
    lambda r: (r.id, r.description, "\n".join(r.permissions)),
)
def list_roles() -> ListRolesRequest:
    """List the project's own roles, beside viewer, contributor, operator and admin."""
    return ListRolesRequest()


@roles.command("show")
def show_role(name: RoleArgument) -> None:
    """Show a role and the RPCs that it allows."""
    _show_role(call(lambda c: Access(c).roles.get(name)))


@roles.command("create")
def create_role(name: RoleArgument, *, allow: PermissionsOption, description: DescriptionOption = "") -> None:
    """Create a role that allows some RPCs."""
    role = Role(id=name, description=description, permissions=allow)
    _show_role(call(lambda c: Access(c).roles.create(role)))


@roles.command("update")
def update_role(name: RoleArgument, *, allow: PermissionsOption) -> None:
    """Change the RPCs that a role allows; tokens with RPCs that it allows no longer are revoked."""
    role = Role(id=name, permissions=allow)
    _show_role(call(lambda c: Access(c).roles.update(role, "permissions")))


@roles.command("delete")
def delete_role(name: RoleArgument) -> None:
    """Delete a role that nothing has."""
    _show_role(call(lambda c: Access(c).roles.delete(name)))


@lists(
    service_accounts,
    "list",
    lambda c: c.access.ListServiceAccounts,
    ("service account", "roles", "description", "created"),
    lambda a: (a.id, ", ".join(a.roles), a.description, moment(a.create_time)),
)
def list_service_accounts() -> ListServiceAccountsRequest:
    """List the project's service accounts."""
    return ListServiceAccountsRequest()


@service_accounts.command("show")
def show_service_account(name: AccountArgument) -> None:
    """Show a service account."""
    _show_account(call(lambda c: Access(c).service_accounts.get(name)))


@service_accounts.command("create")
def create_service_account(name: AccountArgument, *, role: RolesOption, description: DescriptionOption = "") -> None:
    """Create a service account with roles."""
    account = ServiceAccount(id=name, roles=role, description=description)
    _show_account(call(lambda c: Access(c).service_accounts.create(account)))


@service_accounts.command("update")
def update_service_account(name: AccountArgument, *, role: RolesOption) -> None:
    """Give a service account other roles; if it loses some, its keys are revoked."""
    account = ServiceAccount(id=name, roles=role)
    _show_account(call(lambda c: Access(c).service_accounts.update(account, "roles")))


@service_accounts.command("delete")
def delete_service_account(name: AccountArgument) -> None:
    """Delete a service account and revoke its keys."""
    _show_account(call(lambda c: Access(c).service_accounts.delete(name)))


def whoami() -> None:
    """Show who you are to the services: subject, project and roles."""
    found = call(lambda c: Access(c).whoami())
    facts = {
        "subject": found.subject,
        "project": found.project,
        "roles": ", ".join(found.roles),
        "groups": ", ".join(found.groups),
        "allowed besides": "\n".join(found.permissions),
        "limited to": "\n".join(found.scopes),
        "credential": found.credential,
    }
    show(plain(found), card({name: value for name, value in facts.items() if value}))


def _in(project: str, work: Callable[[Access], Awaitable[T]]) -> T:
    """Run work for a project that the command names itself."""

    async def connected() -> T:
        async with Connection(project) as connection:
            return await work(Access(connection))

    return run(connected())


def _show_project(project: Project) -> None:
    facts = {"project": project.id, "state": word(ProjectState, project.state), "name": project.display_name}
    show(plain(project), card({**facts, "created": moment(project.create_time)}))


def _show_member(member: Member) -> None:
    show(plain(member), card({"member": member.subject, "roles": ", ".join(member.roles)}))


def _show_role(role: Role) -> None:
    facts = {"role": role.id, "description": role.description, "RPCs": "\n".join(role.permissions)}
    show(plain(role), card(facts))


def _show_account(account: ServiceAccount) -> None:
    facts = {"service account": account.id, "roles": ", ".join(account.roles), "description": account.description}
    show(plain(account), card(facts))
