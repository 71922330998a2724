import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from tidemill.monitor.v1.lineage_pb2 import Edge, Node
from tidemill.monitor.v1.lineage_service_pb2 import GetLineageResponse
from tidemill_cli.lineage import KINDS
from tidemill_cli.lineage_picture import _KINDS, _laid_out, _Layout, lineage_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_each_kind_that_may_be_asked_about_has_a_colour_and_an_order() -> None:
    assert set(re.split(r", | or ", KINDS)) - _KINDS.keys() == set()


def edge(source: tuple[str, str], relation: str, target: tuple[str, str]) -> Edge:
    return Edge(
        source_kind=source[0], source_id=source[1], target_kind=target[0], target_id=target[1], relation=relation
    )


def lineage(answers: int = 8, *, folded: int = 0) -> GetLineageResponse:
    """Return what a promoted version came from."""
    adapter, base, run = ("model_version", "lora@1"), ("model_version", "base@1"), ("training_run", "run")
    version, curation, live = ("dataset_version", "sft@1"), ("curation", "sft@1"), ("deployment", "helpdesk")
    kinds = [adapter, run, base, version, curation, live]
    edges = [
        edge(run, "registered", adapter),
        edge(base, "base_of", run),
        edge(version, "trained_on", run),
        edge(curation, "published_as", version),
        edge(live, "curated", curation),
    ]
    for number in range(answers):
        given = ("feedback", f"fb-{number}"), ("inference", f"inf-{number}"), ("document_version", f"d{number % 3}@1")
        kinds += given
        edges += [
            edge(given[0], "example_of", curation),
            edge(given[1], "reacted_to", given[0]),
            edge(given[2], "cited_by", given[1]),
            edge(base, "answered", given[1]),
        ]
    nodes = [Node(kind=kind, id=name, label=f"{name} <&$x$>") for kind, name in dict.fromkeys(kinds)]
    if folded:
        nodes.append(Node(kind="feedback", label=f"{folded} more", folded=folded))
        edges.append(edge(("feedback", ""), "example_of", curation))
    return GetLineageResponse(nodes=nodes, edges=edges)


def texts_of(svg: str) -> list[str]:
    return ["".join(each.itertext()).strip() for each in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


def columns_of(layout: _Layout) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for (kind, _), (column, _) in layout.places.items():
        found.setdefault(kind, set()).add(column)
    return found


def test_every_thing_is_drawn_once_with_its_label_as_text() -> None:
    texts = texts_of(lineage_svg(lineage()))

    assert texts.count("lora@1 <&$x$>") == 1
    assert len([text for text in texts if text.startswith("inf-")]) == 8
    assert "training run" in texts


def test_what_is_folded_is_drawn_with_its_number() -> None:
    assert "+ 190 more" in texts_of(lineage_svg(lineage(folded=190)))


def test_what_came_first_is_on_the_left_and_a_kind_has_a_column() -> None:
    layout = _laid_out(lineage())

    assert all(layout.places[source][0] < layout.places[target][0] for source, target in layout.edges)
    columns = columns_of(layout)
    assert all(len(columns[kind]) == 1 for kind in ("inference", "feedback", "document_version"))
    assert max(columns["model_version"]) == max(layout.columns - 1, 0)
    assert columns["deployment"] == {min(columns["curation"]) - 1}


def test_answers_of_a_version_and_of_its_rollout_share_a_column() -> None:
    model, rollout = ("model_version", "m@2"), ("rollout", "ro")
    answers = [("inference", name) for name in ("a", "b")]
    response = GetLineageResponse(
        nodes=[Node(kind=kind, id=name) for kind, name in [model, rollout, *answers]],
        edges=[
            edge(model, "rolled_out", rollout),
            edge(rollout, "answered_in", answers[0]),
            edge(model, "answered", answers[1]),
        ],
    )

    assert columns_of(_laid_out(response)) == {"model_version": {0}, "rollout": {1}, "inference": {2}}


def test_no_two_things_stand_on_the_same_place() -> None:
    layout = _laid_out(lineage(answers=60, folded=5))

    assert len(set(layout.places.values())) == len(layout.nodes)


def test_a_circle_is_drawn_too() -> None:
    one, two = ("deployment", "one"), ("rollout", "two")
    response = GetLineageResponse(
        nodes=[Node(kind=kind, id=name) for kind, name in (one, two)],
        edges=[edge(one, "a", two), edge(two, "b", one), edge(one, "c", one), edge(one, "d", ("rollout", "absent"))],
    )

    assert {"one", "two"} <= set(texts_of(lineage_svg(response)))


@pytest.mark.parametrize("response", [lineage(), GetLineageResponse()], ids=["some", "none"])
def test_the_same_lineage_is_the_same_text_that_needs_nothing_else(response: GetLineageResponse) -> None:
    svg = lineage_svg(response)

    assert svg == lineage_svg(response)
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert "<image" not in svg
    assert [part for part in svg.split('href="')[1:] if not part.startswith("#")] == []


def test_importing_it_loads_no_plotting_library() -> None:
    program = "import sys, tidemill_helpdesk.report_html; print({'matplotlib', 'numpy'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our own interpreter

    assert answer.stdout.strip() == "set()"
