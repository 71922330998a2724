"""Lists that are shown a page at a time."""

from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.message import Message
from rich.console import RenderableType

from tidemill_client.cli.output import plain, show

SizeOption = Annotated[int, typer.Option("--page-size", min=1, max=1000, help="At most this many.")]
TokenOption = Annotated[str, typer.Option("--page-token", help="From the page before.")]


def show_page(name: str, items: Sequence[Message], next_token: str, picture: RenderableType, *, as_json: bool) -> None:
    """Print one page of a list, and how to get the next."""
    show({name: [plain(item) for item in items], "next_page_token": next_token}, picture, as_json=as_json)
    if next_token and not as_json:
        show({}, f"more: --page-token {next_token}", as_json=False)
