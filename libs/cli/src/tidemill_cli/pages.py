"""List commands: one page of a table, or of JSON."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import RenderableType

from tidemill_cli.output import JsonOption, ProjectOption, call, plain, show, table
from tidemill_client.connection import Connection

SizeOption = Annotated[int, typer.Option("--page-size", min=1, max=1000, help="Maximum number of items.")]
TokenOption = Annotated[str, typer.Option("--page-token", help="Token from the previous page.")]
_NewestOption = Annotated[bool, typer.Option("--newest", help="Newest first.")]
_OPTIONS = {
    "size": SizeOption,
    "token": TokenOption,
    "project": ProjectOption,
    "as_json": JsonOption,
    "newest": _NewestOption,
}

F = TypeVar("F", bound=Callable[..., Message])


def lists(
    app: typer.Typer,
    name: str,
    method: Callable[[Connection], Callable[[Any], Awaitable[Any]]],
    columns: Sequence[str],
    row: Callable[[Any], Sequence[object]],
) -> Callable[[F], F]:
    """Make a command of a function that returns the request of a List method; each item of a page is a row.

    The command takes what the function takes, the page and its order, the project and --json.
    """

    def register(requested: F) -> F:
        def command(*, size: int, token: str, project: str, as_json: bool, newest: bool, **own: object) -> None:
            request: Any = requested(**own)
            request.page_size, request.page_token = size, token
            request.order_by = "create_time desc" if newest else ""
            page = call(lambda connection: method(connection)(request), project, as_json=as_json)
            field = next(field.name for field in page.DESCRIPTOR.fields if field.is_repeated)
            items = getattr(page, field)
            picture = table(columns, [row(item) for item in items])
            show_page(field, items, page.next_page_token, picture, as_json=as_json)

        kind, defaults = inspect.Parameter.KEYWORD_ONLY, {"size": 50, "token": "", "project": ""}
        options = [
            inspect.Parameter(each, kind, default=defaults.get(each, False), annotation=annotation)
            for each, annotation in _OPTIONS.items()
        ]
        signature = inspect.signature(requested)
        command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *options])  # type: ignore[attr-defined] # as inspect reads it
        command.__annotations__ = {**requested.__annotations__, **_OPTIONS}
        app.command(name, help=requested.__doc__)(command)
        return requested

    return register


def show_page(name: str, items: Sequence[Message], next_token: str, picture: RenderableType, *, as_json: bool) -> None:
    """Print one page of a list, and the option for the next one."""
    show({name: [plain(item) for item in items], "next_page_token": next_token}, picture, as_json=as_json)
    if next_token and not as_json:
        show({}, f"more: --page-token {next_token}", as_json=False)
