"""secrets: the keys that a project's remote models are called with."""

import sys
from typing import Annotated

import typer

from tidemill.inference.v1.secret_pb2 import Secret
from tidemill.inference.v1.secret_service_pb2 import ListSecretsRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, fail, moment, plain, show
from tidemill_cli.pages import lists
from tidemill_client.secrets import Secrets
from tidemill_core.errors import InvalidInput

secrets = Commands(help="Keys of remote models: set, list, delete; no command shows a value.")

_MAX_INPUT = 64 * 1024
NameArgument = Annotated[str, typer.Argument(help="The secret, for example OPENAI_API_KEY.")]


@secrets.command("set")
def set_secret(
    name: NameArgument,
    hosts: Annotated[
        list[str],
        typer.Option("--host", help="Where it may be sent: api.openai.com, https://example.com:8443; repeatable."),
    ],
) -> None:
    """Set a secret, new or again. Its value is read from standard input; on a terminal it is asked for, unseen."""
    value = _value()
    secret = call(lambda c: Secrets(c).set(name, value, hosts=hosts))
    show(plain(secret), card({"secret": secret.id, "hosts": "\n".join(secret.hosts), "note": _note(secret)}))


@lists(
    secrets,
    "list",
    lambda c: c.secrets.ListSecrets,
    ("secret", "hosts", "set", "note"),
    lambda s: (s.id, ", ".join(s.hosts), moment(s.update_time), _note(s)),
)
def list_secrets() -> ListSecretsRequest:
    """List the project's secrets, without their values."""
    return ListSecretsRequest()


@secrets.command("delete")
def delete_secret(name: NameArgument) -> None:
    """Delete a secret; models that name it cannot be called from then on."""
    secret = call(lambda c: Secrets(c).delete(name))
    show(plain(secret), f"{secret.id} is deleted")


def _value() -> str:
    """Return the value that is typed or piped, without the line end behind it."""
    if _is_terminal():
        return str(typer.prompt("value", hide_input=True, err=True))
    given = sys.stdin.read(_MAX_INPUT + 1)
    value = given.removesuffix("\n").removesuffix("\r")
    if not value:
        fail(InvalidInput('standard input is empty: pipe the value in, for example by printf %s "$KEY"'))
    return value


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _note(secret: Secret) -> str:
    return "the operator's secret of this name is used instead" if secret.overridden else ""
