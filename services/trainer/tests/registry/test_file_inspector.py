import json
from pathlib import Path

import pytest

from tidemill_core.models.manifest import MAX_JSON_BYTES, ArtifactRefused
from tidemill_trainer.registry.file_inspector import FileInspector


def large(folder: Path, content: object) -> Path:
    path = folder / "spooled"
    path.write_text(json.dumps(content) + " " * MAX_JSON_BYTES, encoding="utf-8")
    return path


@pytest.mark.heavy
async def test_a_large_vocabulary_is_inspected(tmp_path: Path) -> None:
    await FileInspector().inspect("tokenizer.json", large(tmp_path, {"model": {"vocab": {"a": 1}}}))


@pytest.mark.heavy
async def test_what_is_wrong_in_a_large_file_is_reported_as_of_a_small_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"tokenizer\.json: names code to run: auto_map"):
        await FileInspector().inspect("tokenizer.json", large(tmp_path, {"auto_map": {}}))


async def test_a_config_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"config\.json: has \d+ bytes; the limit is 1048576"):
        await FileInspector().inspect("config.json", large(tmp_path, {}))
