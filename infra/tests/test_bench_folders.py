"""What benches write over, and what not."""

from argparse import ArgumentParser
from pathlib import Path

import pytest

from tests.bench._folders import refuse_filled


def test_a_model_is_not_written_over_what_a_folder_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}", "utf-8")

    for filled in (tmp_path, config):
        with pytest.raises(SystemExit):
            refuse_filled(ArgumentParser(), filled)

    assert f"folder is {tmp_path}, which is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("name", [".", "new"])
def test_a_model_is_written_to_a_folder_that_is_empty_or_not_there(tmp_path: Path, name: str) -> None:
    refuse_filled(ArgumentParser(), tmp_path / name)


@pytest.mark.parametrize("bench", ["names", "reranker"])
def test_each_bench_that_makes_a_model_refuses_before_it_learns(bench: str) -> None:
    text = (Path(__file__).parents[2] / "tests" / "bench" / bench / "__main__.py").read_text("utf-8")

    refused = text.index("        refuse_filled(parser, given.folder)")
    assert text.rindex("if not given.measure:", 0, refused) < refused < text.index("train(MODELS")
