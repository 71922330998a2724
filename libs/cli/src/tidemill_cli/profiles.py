"""Profiles as commands show them: on a terminal, and as a page where one is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from tidemill.ingest.v1.profile_service_pb2 import GetDatasetProfileResponse, GetSourceProfileResponse
from tidemill_cli.output import fail, plain, show, writing
from tidemill_cli.profile_pages import profile_page
from tidemill_cli.profile_tables import Side, profile_tables
from tidemill_client.profiles import Days
from tidemill_core.errors import InvalidInput

SignificanceOption = Annotated[
    float, typer.Option("--significance", help="From which adjusted p-value on a difference is none.")
]
PageOption = Annotated[Path | None, typer.Option("--html", help="Also write it to this file, with plots.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a command adds to a profile: as JSON, on a terminal, and as HTML."""

    data: Mapping[str, Any]
    tables: RenderableType
    html: str


def show_profile(
    reply: GetSourceProfileResponse | GetDatasetProfileResponse,
    names: Sequence[str],
    *,
    title: str,
    page: Path | None,
    sections: Sequence[Section] = (),
) -> None:
    """Print a profile beside its baseline, if it has one, by the names of both; and write the page."""
    if page is not None:
        write_profile(reply, names, title=title, page=page, sections=sections)
    data: dict[str, Any] = plain(reply)
    parts: list[RenderableType] = [profile_tables(_sides(reply, names), reply.shifts)]
    for section in sections:
        data |= section.data
        parts += ["", section.tables]
    show(data, Group(*parts))


def write_profile(
    reply: GetSourceProfileResponse | GetDatasetProfileResponse,
    names: Sequence[str],
    *,
    title: str,
    page: Path,
    sections: Sequence[Section] = (),
) -> None:
    """Write a profile, beside its baseline if it has one, as a page.

    Raises:
        InvalidInput: the file cannot be written, and why.

    """
    with writing(page):
        html = profile_page(title, _sides(reply, names), reply.shifts, sections=[each.html for each in sections])
        page.write_text(html, encoding="utf-8")


def _sides(reply: GetSourceProfileResponse | GetDatasetProfileResponse, names: Sequence[str]) -> list[Side]:
    profiles = [reply.profile, reply.baseline] if reply.HasField("baseline") else [reply.profile]
    return [Side(name=name, profile=profile) for name, profile in zip(names, profiles, strict=False)]


def days_of(given: str, option: str) -> Days:
    """Return the days that an option names as FIRST..LAST; without either end it is that of the service."""
    first, _, last = given.partition("..")
    try:
        return Days(first=date.fromisoformat(first) if first else None, last=date.fromisoformat(last) if last else None)
    except ValueError:
        fail(InvalidInput.at(field=option, text=f"is {given[:40]!r}; use FIRST..LAST, such as 2026-11-01..2026-11-30"))
