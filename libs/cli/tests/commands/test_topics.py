# ruff: noqa: ANN401 - messages of many kinds
"""Topics of collections and sources, and questions without documents near them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.content.v1.content_pb2 import Passage
from tidemill.ingest.v1.dataset_pb2 import DATASET_SPLIT_TRAIN
from tidemill.ingest.v1.dataset_service_pb2 import ExportDatasetVersionResponse
from tidemill.rag.v1.collection_pb2 import Collection, SearchSettings
from tidemill.rag.v1.retrieval_service_pb2 import SearchResponse
from tidemill.rag.v1.topic_pb2 import Topic, TopicDocument, TopicMonth, TopicPeriod, TopicShift, TopicTerm
from tidemill.rag.v1.topic_service_pb2 import GetTopicsRequest, GetTopicsResponse
from tidemill_cli.answerability import Share
from tidemill_cli.near_documents import p_value_of
from tidemill_core.errors import PreconditionFailed

ODD = "<script>alert(1)</script>"


@pytest.fixture
def asked(running: Running) -> list[GetTopicsRequest]:
    requests = list[GetTopicsRequest]()

    def topics(request: GetTopicsRequest) -> GetTopicsResponse:
        requests.append(request)
        months = [TopicMonth(month="2026-10", documents=10), TopicMonth(month="2026-11", documents=20)]
        near = TopicDocument(document="d1", source="cms", key="vpn.md", title="VPN", distance=0.1, topic=1)
        vpn = Topic(number=1, documents=30, share=0.75, examples=[near], months=months, documents_of_period=20)
        vpn.terms.append(TopicTerm(term="tunnel", weight=0.7, documents=25))
        reply = GetTopicsResponse(topics=[vpn, Topic(number=2, documents=10, share=0.25)], documents=40, index=3)
        reply.outliers.append(TopicDocument(source="cms", key="odd.md", title=ODD, distance=0.91, topic=2))
        if request.HasField("baseline"):
            reply.shift.CopyFrom(TopicShift(effect=0.31, p_value=0.004, shifted=True))
        return reply

    running.answers["rag.v1.topic_service:GetTopics"] = topics
    return requests


async def test_topics_are_shown_with_terms_examples_growth_and_outliers(
    terminal: Terminal, asked: list[GetTopicsRequest], tmp_path: Path
) -> None:
    page = tmp_path / "topics.html"

    said = await asyncio.to_thread(terminal, "collections", "topics", "handbook", "--count", "2", "--html", str(page))

    for words in ("30 (75%)", "tunnel", "VPN", "2026-11: 20, 2026-10: 10", "cms/odd.md", "0.910", "index version 3"):
        assert words in said.text
    assert asked[0] == GetTopicsRequest(collection="handbook", count=2, outlier_quantile=0.98, significance=0.05)
    text = page.read_text("utf-8")
    assert (text.count("<svg"), "<script" in text, "default-src 'none'" in text) == (2, False, True)
    assert "Far from every topic" in text


async def test_thirty_days_begin_with_the_first_day_there_is(terminal: Terminal, asked: list[GetTopicsRequest]) -> None:
    said = await asyncio.to_thread(terminal, "collections", "topics", "handbook", "--days", "..0001-01-05")

    assert said.code == 0
    assert asked[0].period == TopicPeriod(first_day="0001-01-01", last_day="0001-01-05")


async def test_topics_of_a_source_are_counted_by_the_periods_of_its_profile(
    terminal: Terminal, asked: list[GetTopicsRequest], tmp_path: Path
) -> None:
    page = tmp_path / "profile.html"
    command = ["sources", "profile", "cms", "--compare", "..2026-10-31", "--collection", "handbook"]

    said = await asyncio.to_thread(terminal, *command, "--html", str(page))
    programs = await asyncio.to_thread(terminal, *command, "--json")

    assert "yes: effect 0.310, p 0.004 (chi-square)" in said.text
    assert list(asked[0].sources) == ["cms"]
    assert asked[0].period == TopicPeriod(first_day="2026-11-01", last_day="2026-11-30")
    assert asked[0].baseline == TopicPeriod(first_day="2026-10-01", last_day="2026-10-31")
    assert programs.data["topics"]["topics"][0]["documents_of_period"] == 20
    assert "<h2>Topics</h2>" in page.read_text("utf-8")


async def test_a_source_without_topics_has_its_profile_all_the_same(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    def refused(_: GetTopicsRequest) -> GetTopicsResponse:
        message = "6 of the documents <b>"
        raise PreconditionFailed(message)

    running.answers["rag.v1.topic_service:GetTopics"] = refused
    page = tmp_path / "profile.html"
    command = ["sources", "profile", "cms", "--collection", "handbook", "--html", str(page)]

    said = await asyncio.to_thread(terminal, *command)
    programs = await asyncio.to_thread(terminal, *command[:-2], "--json")

    assert (said.code, programs.code) == (0, 0)
    assert [words in said.text for words in ("none: 6 of the documents <b>", "language: en")] == [True] * 2
    assert programs.data["topics"]["error"]["reason"] == "PRECONDITION_FAILED"
    assert int(programs.data["profile"]["count"]) == 40
    assert "6 of the documents &lt;b&gt;" in page.read_text("utf-8")


def questions(running: Running, *, search: SearchSettings) -> list[str]:
    """Answer with a version of ten questions, of which those with an even number have nothing near; return searches."""
    queries = list[str]()

    async def exported(request: Any) -> AsyncIterator[ExportDatasetVersionResponse]:
        numbers = range(8) if request.part == DATASET_SPLIT_TRAIN else range(8, 10)
        lines = "".join(json.dumps({"id": f"e{n}", "question": f"Question {n}?"}) + "\n" for n in numbers)
        for start in range(0, len(lines), 25):
            yield ExportDatasetVersionResponse(chunk=lines[start : start + 25].encode())

    def searched(request: Any) -> SearchResponse:
        assert (request.settings.answerable_above, request.settings.min_score) == (0, 0)
        queries.append(request.query)
        number = int(request.query.removesuffix("?").split()[-1])
        return SearchResponse(passages=[Passage(score=0.1 + number / 100 if number % 2 == 0 else 0.8)])

    running.answers["ingest.v1.dataset_service:ExportDatasetVersion"] = exported
    running.answers["rag.v1.retrieval_service:Search"] = searched
    running.keepers["collection"].stored["handbook"] = Collection(id="handbook", search=search)
    return queries


async def test_questions_without_documents_near_them_are_counted_named_and_compared(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    searched = questions(running, search=SearchSettings(answerable_above=0.3, min_score=0.2))
    page = tmp_path / "profile.html"
    command = ["datasets", "profile", "helpdesk_sft", "--compare", "helpdesk_sft@1", "--collection", "handbook"]

    said = await asyncio.to_thread(terminal, *command, "--html", str(page))
    programs = await asyncio.to_thread(terminal, *command, "--questions", "4", "--json")

    assert "near from a score of 0.3 on" in said.text
    assert "0.50 [0.24, 0.76] of 10" in said.text
    assert [name for name in ("e0", "e2", "e4", "e6", "e8") if name not in said.text] == []
    assert "e1 " not in said.text
    assert "Questions without documents near them" in page.read_text("utf-8")
    found = programs.data["near_documents"]
    assert [side["questions"] for side in found["sides"]] == [4, 4]
    assert found["sides"][0]["examples"] == found["sides"][1]["examples"]
    assert (found["shared_questions"], found["p_value"]) == (4, 1.0)
    assert len(searched) == 14


def test_two_versions_are_compared_by_the_questions_that_they_do_not_share() -> None:
    old, added, none = Share(count=20, of=100), Share(count=30, of=100), Share(count=0, of=0)
    both = Share(count=50, of=200)

    apart = p_value_of(old, added, none)

    assert apart == pytest.approx(0.1025, abs=0.0001)
    assert p_value_of(both, old, old) == pytest.approx(apart)
    assert p_value_of(old, old, old) == 1.0
    assert p_value_of(Share(count=0, of=9), Share(count=0, of=9), none) == 1.0


async def test_without_a_score_it_is_said_how_to_find_one(terminal: Terminal, running: Running) -> None:
    questions(running, search=SearchSettings())
    command = ["datasets", "profile", "helpdesk_sft", "--collection", "handbook"]

    refused = await asyncio.to_thread(terminal, *command)
    named = await asyncio.to_thread(terminal, *command, "--near", "0.9")

    assert refused.code == 1
    assert "--near: is not set, and handbook has neither answerable_above nor min_score" in " ".join(
        refused.text.split()
    )
    assert "1.00 [0.72, 1.00] of 10" in named.text
