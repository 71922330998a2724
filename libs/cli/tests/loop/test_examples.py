"""How a loop declares the examples of a deployment."""

from pathlib import Path

import pytest

from libs.cli.tests.loop.test_reader import RIGHT, problems_of, written
from tidemill.inference.v1 import examples_pb2
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources

DECLARED = RIGHT.replace("top_k: 2}}", "top_k: 2}, examples: {dataset: sft@latest, embedding: small, count: 2}}") + (
    "datasets:\n  sft: {examples: {deployment: helpdesk, feedback: [correction]}, publish: {new_examples: 9}}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "answer.jinja").write_text("{{ question }}")
    return tmp_path


def test_examples_are_declared_with_their_defaults(folder: Path) -> None:
    resources = {each.name: each for each in desired_resources(read_loop(written(folder, DECLARED)))}

    examples = resources["helpdesk"].message.examples  # type: ignore[attr-defined] # of a deployment
    assert examples == examples_pb2.Examples(
        dataset="sft@latest",
        count=2,
        by=examples_pb2.EXAMPLE_SELECTION_SIMILARITY,
        embedding="small",
        max_tokens=600,
        min_similarity=0.3,
    )
    assert ("model", "small") in resources["helpdesk"].refers_to


@pytest.mark.parametrize(
    ("right", "wrong", "path"),
    [
        ("sft@latest", "stf", "deployments.helpdesk.examples.dataset"),
        ("sft@latest", "sft@best", "deployments.helpdesk.examples.dataset"),
        ("sft@latest", "acme/sft", "deployments.helpdesk.examples.dataset"),
        ("embedding: small, count", "embedding: smol, count", "deployments.helpdesk.examples.embedding"),
        ("count: 2}", "count: 9}", "deployments.helpdesk.examples.count"),
        ("embedding: small, count", "count", "deployments.helpdesk.examples"),
        ("count: 2}", "by: random}", "deployments.helpdesk.examples"),
    ],
)
def test_what_is_declared_wrongly_is_found_with_its_place(folder: Path, right: str, wrong: str, path: str) -> None:
    assert right in DECLARED
    assert path in problems_of(folder, DECLARED.replace(right, wrong))
