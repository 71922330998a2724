"""Profiles as commands show them: on a terminal, and as a page where one is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tidemill.ingest.v1.profile_service_pb2 import GetDatasetProfileResponse, GetSourceProfileResponse
from tidemill_cli.output import plain, show, writing
from tidemill_cli.profile_pages import profile_page
from tidemill_cli.profile_tables import Side, profile_tables

SignificanceOption = Annotated[
    float, typer.Option("--significance", help="From which adjusted p-value on a difference is none.")
]
PageOption = Annotated[Path | None, typer.Option("--html", help="Also write it to this file, with plots.")]


def show_profile(
    reply: GetSourceProfileResponse | GetDatasetProfileResponse, names: Sequence[str], *, title: str, page: Path | None
) -> None:
    """Print a profile beside its baseline, if it has one, by the names of both; and write the page."""
    profiles = [reply.profile, reply.baseline] if reply.HasField("baseline") else [reply.profile]
    sides = [Side(name=name, profile=profile) for name, profile in zip(names, profiles, strict=False)]
    if page is not None:
        with writing(page):
            page.write_text(profile_page(title, sides, reply.shifts), encoding="utf-8")
    show(plain(reply), profile_tables(sides, reply.shifts))
