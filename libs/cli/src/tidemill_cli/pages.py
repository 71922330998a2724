"""List commands: one page of a table, or of JSON."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import RenderableType

from tidemill_cli.options import Commands, declared, options
from tidemill_cli.output import call, plain, show, stdout, table
from tidemill_client.connection import Connection

SizeOption = Annotated[int, typer.Option("--page-size", min=1, max=1000, help="Maximum number of items.")]
TokenOption = Annotated[str, typer.Option("--page-token", help="Token from the previous page.")]
_NewestOption = Annotated[bool, typer.Option("--newest", help="Newest first.")]
_OPTIONS = {"size": (SizeOption, 50), "token": (TokenOption, ""), "newest": (_NewestOption, False)}

F = TypeVar("F", bound=Callable[..., Message])


def lists(
    app: Commands,
    name: str,
    method: Callable[[Connection], Callable[[Any], Awaitable[Any]]],
    columns: Sequence[str],
    row: Callable[[Any], Sequence[object]],
    *,
    order: str = "create_time",
) -> Callable[[F], F]:
    """Make a command of a function that returns the request of a List method; each item of a page is a row.

    The command takes what the function takes, the page and its order, which is by this field.
    """

    def register(requested: F) -> F:
        def command(*, size: int, token: str, newest: bool, **own: object) -> None:
            request: Any = requested(**own)
            request.page_size, request.page_token = size, token
            request.order_by = f"{order} desc" if newest else ""
            page = call(lambda connection: method(connection)(request))
            field = next(field.name for field in page.DESCRIPTOR.fields if field.is_repeated)
            items = getattr(page, field)
            picture = table(columns, [row(item) for item in items])
            show_page(field, items, page.next_page_token, picture)

        app.command(name, help=requested.__doc__)(declared(command, like=requested, options=_OPTIONS))
        return requested

    return register


def show_page(name: str, items: Sequence[Message], next_token: str, picture: RenderableType) -> None:
    """Print one page of a list, and the option for the next one."""
    show({name: [plain(item) for item in items], "next_page_token": next_token}, picture)
    if next_token and not options().as_json:
        stdout.print(f"more: --page-token {next_token}")
