"""Metrics that gates of loop.yaml require."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.loop.conftest import LOOP
from libs.cli.tests.loop.test_judges import written
from tidemill_cli.loop.problems import LoopErrors
from tidemill_cli.loop.reader import read_loop
from tidemill_cli.loop.resources import desired_resources


def gated(metric: str) -> str:
    return LOOP.replace("{suite: truth}, metric: rouge_l,", f"{{suite: truth}}, metric: '{metric}',")


@pytest.mark.parametrize(
    "metric",
    ["lix", "embedding_similarity:minilm", "faithfulness:minilm@2", "context_recall:collection:handbook"],
)
def test_a_gate_may_require_a_metric_by_an_embedding_model_or_of_readability(tmp_path: Path, metric: str) -> None:
    made = {each.name: each for each in desired_resources(read_loop(written(tmp_path, gated(metric))))}

    assert MessageToDict(made["helpdesk_gate"].message)["require"][1]["metric"] == metric


@pytest.mark.parametrize(
    "metric", ["embedding_similarity", "embedding_similarity:Mini", "nearness:minilm", "faithfulness:collection:a@2"]
)
def test_another_one_is_a_problem(tmp_path: Path, metric: str) -> None:
    with pytest.raises(LoopErrors, match="is not allowed"):
        read_loop(written(tmp_path, gated(metric)))
