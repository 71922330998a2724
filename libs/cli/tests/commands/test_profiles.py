"""Profiles of sources: as tables, as a page, compared."""

import asyncio
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.commands.profile_answers import ProfileAnswers
from tidemill.ingest.v1.profile_pb2 import ProfilePeriod


async def test_a_profile_is_tables_of_counts_shares_and_quantiles(terminal: Terminal) -> None:
    said = await asyncio.to_thread(terminal, "sources", "profile", "cms")

    assert said.code == 0
    for words in ("40 of about 40 documents, 50% with a text that came before", "language: en", "30 (75%)", "120.5"):
        assert words in said.text
    assert "masked identifiers: 8 more (--json, --html)" in said.text
    assert "differs" not in said.text
    balance = next(line for line in said.text.splitlines() if line.startswith("end user"))
    assert balance.split()[-3:] == ["9", "50%", "3.5"]


async def test_two_periods_are_shown_side_by_side_with_what_differs(
    terminal: Terminal, profiles: ProfileAnswers
) -> None:
    command = ["sources", "profile", "cms", "--days", "2026-11-01..2026-11-30", "--compare", "..2026-10-31"]

    said = await asyncio.to_thread(terminal, *command)

    assert "2026-10-01 to 2026-10-31" in said.text
    assert [words in said.text for words in ("yes", "0.310", "0.004", "chi-square")] == [True] * 4
    assert profiles.asked[0].period == ProfilePeriod(first_day="2026-11-01", last_day="2026-11-30")
    assert profiles.asked[0].baseline == ProfilePeriod(last_day="2026-10-31")


@pytest.mark.heavy
async def test_a_page_is_one_file_without_scripts_and_nothing_from_elsewhere(
    terminal: Terminal, tmp_path: Path
) -> None:
    page = tmp_path / "profile.html"

    said = await asyncio.to_thread(terminal, "sources", "profile", "cms", "--compare", "..", "--html", str(page))

    text = page.read_text("utf-8")
    assert said.code == 0
    assert text.count("<svg") == 5
    assert ("<script" in text, "alert(1)" in text, "What differs" in text) == (False, True, True)
    assert "src=" not in text
    assert "default-src 'none'" in text


def test_days_that_are_none_are_refused(terminal: Terminal) -> None:
    refused = terminal("sources", "profile", "cms", "--days", "november")

    assert refused.code == 1
    assert "--days: is 'november'; use FIRST..LAST" in refused.text


@pytest.mark.heavy
async def test_versions_of_a_dataset_are_shown_the_same_way(terminal: Terminal, tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    command = ["datasets", "profile", "helpdesk_sft", "--compare", "helpdesk_sft@1", "--html", str(page)]

    said = await asyncio.to_thread(terminal, *command)

    assert [words in said.text for words in ("helpdesk_sft@2", "helpdesk_sft@1", "30 (75%)")] == [True] * 3
    assert "<h1>Dataset helpdesk_sft@2</h1>" in page.read_text("utf-8")
