"""keys: the credentials of programs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from tidemill.monitor.v1.access_pb2 import ApiKey, ApiKeyState
from tidemill.monitor.v1.access_service_pb2 import ListApiKeysRequest
from tidemill_cli.options import Commands, options
from tidemill_cli.output import call, card, fail, moment, plain, print_json, show, stderr, stdout, word, writing
from tidemill_cli.pages import lists
from tidemill_client.access import Access, IssuedKey
from tidemill_client.connection import Connection
from tidemill_client.publishing import Publisher
from tidemill_core.errors import InvalidInput, PreconditionFailed

keys = Commands(help="API keys of service accounts.")

KeyArgument = Annotated[str, typer.Argument(help="The key, for example ci-2026.")]


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
