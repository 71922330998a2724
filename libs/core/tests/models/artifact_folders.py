"""Folders that look like a model's, for the tests of manifests and of their cache."""

import json
from pathlib import Path


def safetensors(content: bytes = b"\0" * 64) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return len(header).to_bytes(8, "little") + header + content


def model_folder(folder: Path) -> Path:
    """Write what a small model consists of."""
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors())
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0esentencepiece")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "README.md").write_text("# A model\n")
    (folder / "LICENSE").write_text("Apache-2.0\n")
    return folder
