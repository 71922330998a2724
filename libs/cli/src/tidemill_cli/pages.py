"""Pagination of list commands."""

from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.message import Message
from rich.console import RenderableType

from tidemill_cli.output import plain, show

SizeOption = Annotated[int, typer.Option("--page-size", min=1, max=1000, help="Maximum number of items.")]
TokenOption = Annotated[str, typer.Option("--page-token", help="Token from the previous page.")]


def show_page(name: str, items: Sequence[Message], next_token: str, picture: RenderableType, *, as_json: bool) -> None:
    """Print one page of a list, and the option for the next one."""
    show({name: [plain(item) for item in items], "next_page_token": next_token}, picture, as_json=as_json)
    if next_token and not as_json:
        show({}, f"more: --page-token {next_token}", as_json=False)
