"""How a loop declares what is found, and in which order."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.loop.test_reader import RIGHT, problems_of, written
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources

SEARCH = "{diversity: 0.25, neighbours: 1, identifiers_required: true, rerank: {model: cross@2, candidates: 30}}"
DECLARED = (
    RIGHT.replace('{source: "file:weights"}', '{source: "file:weights"}\n  cross: {source: "file:weights"}')
    .replace("embedding: small}", f"embedding: small, chunk: {{by: rows}}, search: {SEARCH}}}")
    .replace("\nprompts:", "\n  faq: {sources: [cms], embedding: small}\nprompts:")
    .replace("top_k: 2}", "other_collections: [faq, acme/news], rewrite: small, query_variants: 3}")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "answer.jinja").write_text("{{ question }}")
    return tmp_path


def test_reranking_diversity_neighbours_and_several_collections_are_declared(folder: Path) -> None:
    resources = {each.name: each for each in desired_resources(read_loop(written(folder, DECLARED)))}

    search = MessageToDict(resources["handbook"].message)["search"]
    assert {name: search[name] for name in ("diversity", "neighbours", "identifiersRequired", "rerank")} == {
        "diversity": 0.25,
        "neighbours": 1,
        "identifiersRequired": True,
        "rerank": {"model": "cross@2", "candidates": 30},
    }
    assert MessageToDict(resources["handbook"].message)["chunking"]["by"] == "rows"
    assert "rerank" not in MessageToDict(resources["faq"].message)["search"]
    retrieval = MessageToDict(resources["helpdesk"].message)["retrieval"]
    assert (retrieval["otherCollections"], retrieval["queryVariants"]) == (["faq", "acme/news"], 3)


@pytest.mark.parametrize(
    ("right", "wrong", "path"),
    [
        ("model: cross@2", "model: crass@2", "collections.handbook.search.rerank.model"),
        ("model: cross@2", "model: cross", "collections.handbook.search.rerank.model"),
        ("candidates: 30", "candidates: 101", "collections.handbook.search.rerank.candidates"),
        ("neighbours: 1", "neighbours: 6", "collections.handbook.search.neighbours"),
        ("by: rows", "by: pages", "collections.handbook.chunk.by"),
        ("[faq, acme/news]", "[fag]", "deployments.helpdesk.retrieval.other_collections[0]"),
        ("query_variants: 3", "query_variants: 6", "deployments.helpdesk.retrieval.query_variants"),
    ],
)
def test_what_is_declared_wrongly_is_found_with_its_place(folder: Path, right: str, wrong: str, path: str) -> None:
    assert right in DECLARED
    assert path in problems_of(folder, DECLARED.replace(right, wrong))
