"""The example's model is the one that its package has: each file is as transformers writes it."""

import hashlib
import os
from pathlib import Path

import pytest
from gguf import GGUFWriter

from tidemill_local import models
from tidemill_local.gguf_models import convert
from tidemill_local.places import MODELS

WRITTEN_BY_TRANSFORMERS = {
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "config.json": "e4323b44b3ed8d04b11a7702e3a93ef8479b6284ae107dd39bb7e02fc1cf8220",
    "generation_config.json": "371bbd21a2e8c8a48325aeaabfe0acff6e76c8fd7c08152c40fe956c96253965",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4",
    "tokenizer_config.json": "156c41a2e14e6e6bd4286c506c38ee883a78e0f5ce165ad9bf63fe73ebf9e974",
}
"""sha256 of what `from_pretrained(gguf_file=...)` of 5.23.0 read in bfloat16 and `save_pretrained` wrote."""


def test_the_folder_of_the_example_is_what_transformers_would_have_written() -> None:
    found = {
        file.name: hashlib.file_digest(file.open("rb"), "sha256").hexdigest()
        for file in (MODELS / models.ANSWERS).iterdir()
    }

    outdated = f"another release has made {MODELS / models.ANSWERS}: remove this folder and run `make setup`"
    assert found == WRITTEN_BY_TRANSFORMERS, outdated


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "other.gguf", "qwen2")
    writer.add_tokenizer_model("gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()

    with pytest.raises(ValueError, match=r"other\.gguf has .*qwen2.*; only .*llama.* can be converted"):
        convert(tmp_path / "other.gguf", tmp_path)


def test_what_a_killed_set_up_left_is_removed_and_what_another_one_makes_is_kept(tmp_path: Path) -> None:
    left, made = tmp_path / ".making-left", tmp_path / ".making-now"
    for folder in (left, made, tmp_path / models.ANSWERS, tmp_path / models.EMBEDDINGS):
        (folder / "packages").mkdir(parents=True)
    os.utime(left, (0, 0))

    models.ensure(tmp_path)

    assert not left.exists()
    assert made.exists()
