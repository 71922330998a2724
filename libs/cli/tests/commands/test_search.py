"""Passages in the terminal."""

import asyncio

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running
from tidemill.content.v1.content_pb2 import Passage
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest, SearchResponse


async def test_several_collections_are_searched_as_one_and_warnings_stand_below_what_is_found(
    terminal: Terminal, running: Running
) -> None:
    asked: list[SearchRequest] = []

    def found(request: SearchRequest) -> SearchResponse:
        asked.append(request)
        passages = [
            Passage(id="1", source="cms", key="vpn", version=2, text="Reset it.", score=0.25, rerank_score=0.875),
            Passage(id="2", source="faq", key="mail", version=1, text="Ask.", score=0.5),
        ]
        return SearchResponse(passages=passages, index=1, warnings=["not reranked: [it] is slow"])

    running.answers["rag.v1.retrieval_service:Search"] = found
    people = await asyncio.to_thread(terminal, "search", "password", "-c", "handbook", "-c", "faq")
    programs = await asyncio.to_thread(terminal, "search", "password", "--json")

    assert [(each.collection, [*each.other_collections]) for each in asked] == [("handbook", ["faq"]), ("handbook", [])]
    rows = [line.split() for line in people.text.splitlines() if "cms/vpn" in line or "faq/mail" in line]
    assert [row[:3] for row in rows] == [["0.250", "0.875", "cms/vpn"], ["0.500", "-", "faq/mail"]]
    assert "not reranked: [it] is slow" in people.text
    assert programs.data["warnings"] == ["not reranked: [it] is slow"]
    assert [each["key"] for each in programs.data["passages"]] == ["vpn", "mail"]
