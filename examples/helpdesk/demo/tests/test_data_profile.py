"""What the demo shows of what came in: a page of each source, and a line of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from tidemill.ingest.v1 import profile_service_pb2 as rpc
from tidemill.ingest.v1.profile_pb2 import CategoryColumn, CategoryCount, Profile, ProfilePeriod
from tidemill.rag.v1.topic_service_pb2 import GetTopicsRequest, GetTopicsResponse
from tidemill_client import waiting
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_helpdesk.data_profile import DataProfile, Profiled
from tidemill_helpdesk.report import Report

LANGUAGES = {"en": 480, "de": 12, "fr": 5, "unknown": 3}


def column(name: str, **counts: int) -> CategoryColumn:
    return CategoryColumn(name=name, counts=[CategoryCount(name=each, count=n) for each, n in counts.items()])


@dataclass
class Ingest:
    """Counts `step` more versions with each call."""

    step: int = 500
    count: int = 0
    refused: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def profile(self, request: rpc.GetSourceProfileRequest) -> rpc.GetSourceProfileResponse:
        self.asked.append(request.source)
        if self.refused:
            raise self.refused
        self.count += self.step
        categories = [
            column("language", **LANGUAGES),
            column("duplicate", none=495, near=3, exact=2),
            column("identifiers", email=4) if request.source == "manual" else column("identifiers"),
        ]
        period = ProfilePeriod(first_day="2026-11-01", last_day="2026-11-30")
        return rpc.GetSourceProfileResponse(profile=Profile(count=self.count, categories=categories), period=period)


async def refused_topics(_request: GetTopicsRequest) -> GetTopicsResponse:
    message = "too few documents"
    raise PreconditionFailed(message)


Profiling = Callable[..., DataProfile]


@pytest.fixture
def profiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiling:
    monkeypatch.setattr(waiting, "POLL_S", 0.001)

    def made(ingest: Ingest, *sources: Profiled, limit_s: float = 30.0) -> DataProfile:
        profiles, topics = SimpleNamespace(GetSourceProfile=ingest.profile), SimpleNamespace(GetTopics=refused_topics)
        connection = cast("Any", SimpleNamespace(profiles=profiles, topics=topics))
        folder = tmp_path / "demo" / "profiles"
        return DataProfile(
            connection=connection, report=Report("demo"), folder=folder, sources=sources, limit_s=limit_s
        )

    return made


async def test_each_source_has_a_page_and_a_line_of_what_is_in_it(
    profiling: Profiling, capsys: pytest.CaptureFixture[str]
) -> None:
    manual, office = (
        Profiled(source="manual", documents=500, collection="handbook"),
        Profiled(source="office", documents=9),
    )
    profile = profiling(Ingest(), manual, office)

    await profile()

    figures, printed = profile.report.figures["profile"], " ".join(capsys.readouterr().out.split())
    pages = {name: Path(page) for name, page in figures["pages"].items()}
    assert figures["state"] == "completed"
    assert pages == {name: profile.folder / f"{name}.html" for name in ("manual", "office")}
    assert "<h1>Source manual</h1>" in pages["manual"].read_text("utf-8")
    assert "too few documents" in pages["manual"].read_text("utf-8")
    assert "Topics" not in pages["office"].read_text("utf-8")
    assert figures["manual_languages"] == LANGUAGES
    assert (figures["manual_near_duplicates"], figures["manual_masked"]) == (3, {"email": 4})
    assert (
        "versions in en 480, de 12, fr 5 and 1 others; 3 near-duplicates, 2 exact; personal data masked: email 4"
        in printed
    )
    assert "personal data masked: none" in printed
    assert "manual.html, office.html" in printed


def test_sources_whose_near_duplicates_are_shown_compare_their_documents() -> None:
    examples = Path(__file__).resolve().parents[3]
    loops = [yaml.safe_load((examples / name / "loop.yaml").read_text("utf-8")) for name in ("helpdesk", "office")]
    sources = loops[0]["sources"] | loops[1]["sources"]

    assert {name: source["quality"]["duplicates"] for name, source in sources.items()} == dict.fromkeys(
        ("manual", "cms", "office"), "keep"
    )


async def test_a_source_is_profiled_once_all_of_it_is_counted(profiling: Profiling) -> None:
    ingest = Ingest(step=200)
    profile = profiling(ingest, Profiled(source="cms", documents=500))

    await profile()

    assert len(ingest.asked) == 4  # three until it is counted, and the one that is shown
    assert profile.report.figures["profile"]["cms_versions"] >= 500


@pytest.mark.parametrize(
    ("ingest", "limit_s", "reason"),
    [
        (Ingest(refused=DependencyUnavailable("ingest is away", dependency="ingest")), 30.0, "ingest is away"),
        (Ingest(step=0), 0.05, "were not profiled"),
    ],
    ids=["refused", "never counted"],
)
async def test_without_a_profile_the_demo_says_why_and_goes_on(
    profiling: Profiling, capsys: pytest.CaptureFixture[str], ingest: Ingest, limit_s: float, reason: str
) -> None:
    profile = profiling(ingest, Profiled(source="cms", documents=500), limit_s=limit_s)
    earlier = profile.folder / "cms.html"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of an earlier demo", "utf-8")

    await profile()

    figures = profile.report.figures["profile"]
    assert (figures["state"], figures["pages"], earlier.exists()) == ("failed", {}, False)
    assert reason in figures["reason"]
    assert "not all profiled" in capsys.readouterr().out


async def test_a_folder_that_cannot_be_written_ends_nothing_either(profiling: Profiling) -> None:
    profile = profiling(Ingest(), Profiled(source="cms", documents=500))
    profile.folder.parent.parent.mkdir(exist_ok=True)
    profile.folder.parent.write_text("a file in its place", "utf-8")

    await profile()

    assert "cannot be written" in profile.report.figures["profile"]["reason"]
