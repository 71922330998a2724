"""projects, members, roles, service-accounts, keys and whoami: who may do what."""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tidemill.monitor.v1.access_pb2 import ApiKey, ApiKeyState, Member, Project, ProjectState, Role, ServiceAccount
from tidemill.monitor.v1.access_service_pb2 import (
    ListApiKeysRequest,
    ListMembersRequest,
    ListProjectsRequest,
    ListRolesRequest,
    ListServiceAccountsRequest,
)
from tidemill_cli.options import Commands, options, without_project
from tidemill_cli.output import (
    call,
    card,
    fail,
    moment,
    plain,
    print_json,
    run,
    show,
    stderr,
    stdout,
    table,
    word,
    writing,
)
from tidemill_cli.pages import SizeOption, TokenOption, lists, show_page
from tidemill_client.access import Access, IssuedKey
from tidemill_client.connection import Connection
from tidemill_client.publishing import Publisher
from tidemill_core.errors import InvalidInput, PreconditionFailed

projects = Commands(help="Projects: list, show, create, update, delete.")
members = Commands(help="People and groups with roles in the project.")
roles = Commands(help="The project's own roles: sets of RPCs.")
service_accounts = Commands(help="Service accounts: the identities of programs.")
keys = Commands(help="API keys of service accounts.")

T = TypeVar("T")
ProjectArgument = Annotated[str, typer.Argument(help="The project, for example acme.")]
SubjectArgument = Annotated[str, typer.Argument(help="user:NAME or group:NAME, as the identity provider calls them.")]
RoleArgument = Annotated[str, typer.Argument(help="The role, for example searcher.")]
AccountArgument = Annotated[str, typer.Argument(help="The service account, for example ci.")]
KeyArgument = Annotated[str, typer.Argument(help="The key, for example ci-2026.")]
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
    """Revoke all credentials of a project for good, and mark it for deletion; its id is not given again."""
    if not yes:
        typer.confirm(f"Delete project {name}?", abort=True, err=True)
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


@lists(
    keys,
    "list",
    lambda c: c.access.ListApiKeys,
    ("key", "service account", "state", "roles", "expires", "last used"),
    lambda k: (
        k.id,
        k.service_account,
        word(ApiKeyState, k.state),
        ", ".join(k.roles),
        moment(k.expire_time),
        moment(k.last_use_time),
    ),
)
def list_keys(
    service_account: Annotated[str, typer.Option("--service-account", "-s", help="Only of this one.")] = "",
) -> ListApiKeysRequest:
    """List the project's API keys, without their tokens."""
    return ListApiKeysRequest(filter=f'service_account = "{service_account}"' if service_account else "")


@keys.command("show")
def show_key(name: KeyArgument) -> None:
    """Show a key, without its token."""
    _show_key(call(lambda c: Access(c).keys.get(name)))


@keys.command("create")
def create_key(
    name: KeyArgument,
    *,
    service_account: Annotated[str, typer.Option("--service-account", "-s", help="The account that it acts for.")],
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Only this RPC; repeatable.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Days until it expires.")] = 90,
    publisher: Annotated[
        bool, typer.Option("--publisher", help="Make a key that signs submissions on Kafka; needs --out.")
    ] = False,
    event_source: Annotated[str, typer.Option("--event-source", help="Of a publisher: the only ce_source.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the token to this new file (0600).")] = None,
) -> None:
    """Issue an API key. Its token is printed once, or written to a file that only you may read.

    With --publisher the file has a new private key and its certificate, and monitor never sees the private key.
    """
    expire_time = datetime.now(UTC) + timedelta(days=days)
    signer = Publisher.generate() if publisher else None
    if publisher and out is None:
        fail(InvalidInput.at(field="--out", text="is required with --publisher: it is the private key's only place"))

    def issue() -> IssuedKey:
        return call(
            lambda c: Access(c).keys.create(
                name,
                service_account,
                scopes=scope or (),
                expire_time=expire_time,
                public_key=signer.public_key if signer else "",
                event_source=event_source,
            )
        )

    if out is None:
        issued = issue()
        if options().as_json:
            print_json({**plain(issued.key), "token": issued.token})
            return
        stderr.print(f"key {issued.key.id} of {service_account} expires {moment(issued.key.expire_time)}")
        stdout.print(issued.token, soft_wrap=True, highlight=False, markup=False)
        return
    with _private(out) as descriptor:
        issued = issue()
        try:
            os.write(descriptor, replace(signer, certificate=issued.token).file() if signer else issued.token.encode())
            os.write(descriptor, b"\n")
        except OSError as error:
            why = f"{out} cannot be written: {error.strerror or error}"
            fail(PreconditionFailed(f"API key {name} was created, and {why}: delete it, create another"))
    _show_key(issued.key)


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="The key, for example ci-2026.")] = "",
    *,
    token_id: Annotated[
        str, typer.Option("--token-id", help="In place of a key: any token's id, as whoami and logs show it.")
    ] = "",
    subject: Annotated[
        str, typer.Option("--subject", help="In place of a key: all tokens of user:NAME, group:NAME or service:NAME.")
    ] = "",
) -> None:
    """Revoke a key: it is refused everywhere within seconds, and stays in lists.

    As an admin of the installation, revoke a token that is no key, or all tokens of a subject, in all projects.
    """
    if [bool(name), bool(token_id), bool(subject)].count(True) != 1:
        fail(InvalidInput("name one of these: a key, --token-id or --subject"))
    if name:
        _show_key(call(lambda c: Access(c).keys.revoke(name)))
        return

    async def revoke(connection: Connection) -> datetime:
        access = Access(connection)
        return await (access.revoke_token(token_id) if token_id else access.revoke_subject(subject))

    until = call(revoke)
    facts = {"revoked": token_id or subject, "issued until": f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"}
    show(facts, card(facts))


@keys.command("delete")
def delete_key(name: KeyArgument) -> None:
    """Revoke a key and remove it from lists."""
    _show_key(call(lambda c: Access(c).keys.delete(name)))


def whoami() -> None:
    """Show who you are to the services: subject, project and roles."""
    found = call(lambda c: Access(c).whoami())
    facts = {
        "subject": found.subject or "(this installation demands no credentials)",
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


@contextmanager
def _private(path: Path) -> Iterator[int]:
    """Give a new file that only its owner may read, open for writing; it is removed if its content cannot be had."""
    try:
        with writing(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except InvalidInput as error:
        fail(error)
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


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


def _show_key(key: ApiKey) -> None:
    facts = {
        "key": key.id,
        "service account": key.service_account,
        "state": word(ApiKeyState, key.state),
        "roles": ", ".join(key.roles),
        "limited to": "\n".join(key.scopes),
        "expires": moment(key.expire_time),
        "last used": moment(key.last_use_time),
        "credential": key.credential,
    }
    show(plain(key), card({name: value for name, value in facts.items() if value}))
