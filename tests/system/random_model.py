"""Random models, for tests of what becomes of an answer or document, and not of what it says or how it is found.

`make demo` and `make verify` run the real ones, and so do the tests that ask for what an answer says.
"""

import json
import shutil
from pathlib import Path

from services.trainer.tests.learning.tiny import write_base
from tests.system.running import LOOP, ROOT

CONTEXT = 4096
"""Tokens, which are bytes here: a passage of the example's collection takes a thousand."""
LOCAL = "../../.tidemill"
REAL = f"file:{LOCAL}/models/smollm2"
EMBEDDING = "models/all-MiniLM-L6-v2"
DIMENSIONS = 32


def write_random_model(folder: Path, *, hidden: int = 32) -> Path:
    """Write the model, and return its folder; each of its four heads has a quarter of what is `hidden`."""
    return write_base(folder / "random", context=CONTEXT, hidden=hidden)


def write_random_embedding(folder: Path) -> Path:
    """Write an embedding model of one layer with MiniLM's tokenizer, 4 MB in place of 90, and return its folder."""
    import torch  # noqa: PLC0415 - only tests that write it pay for it
    from transformers.models.bert.configuration_bert import BertConfig  # noqa: PLC0415
    from transformers.models.bert.modeling_bert import BertModel  # noqa: PLC0415

    written = folder / "embedding"
    shutil.copytree(ROOT / ".tidemill" / EMBEDDING, written, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(7)
    sizes = {"hidden_size": DIMENSIONS, "intermediate_size": 2 * DIMENSIONS, "num_hidden_layers": 1}
    BertModel(BertConfig(num_attention_heads=2, **sizes)).save_pretrained(written)
    pooling = written / "1_Pooling" / "config.json"
    settings = json.loads(pooling.read_text(encoding="utf-8")) | {"word_embedding_dimension": DIMENSIONS}
    pooling.write_text(json.dumps(settings), encoding="utf-8")
    return written


def write_example(folder: Path, *, file: str = LOOP.name, embedding: bool = False) -> Path:
    """Write the example's loop with random models in place of the real ones, and return its file.

    With `embedding` the embedding model is the real one.
    """
    text = LOOP.with_name(file).read_text(encoding="utf-8")
    assert REAL in text
    assert f"file:{LOCAL}/{EMBEDDING}" in text
    text = text.replace(REAL, f"file:{write_random_model(folder)}")
    if not embedding:
        text = text.replace(f"file:{LOCAL}/{EMBEDDING}", f"file:{write_random_embedding(folder)}")
    text = text.replace(LOCAL, str(ROOT / ".tidemill"))
    shutil.copytree(LOOP.with_name("prompts"), folder / "prompts")
    written = folder / file
    written.write_text(text, encoding="utf-8")
    return written
