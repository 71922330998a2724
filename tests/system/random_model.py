"""A random model of two layers, for tests of what becomes of an answer and not of what it says.

`make demo` and `make verify` run the real one, and so do the tests that ask for what an answer says.
"""

import shutil
from pathlib import Path

from services.trainer.tests.learning.tiny import write_base
from tests.system.running import LOOP, ROOT

CONTEXT = 4096
"""Tokens, which are bytes here: a passage of the example's collection takes a thousand."""
LOCAL = "../../.tidemill"
REAL = f"file:{LOCAL}/models/smollm2"


def write_random_model(folder: Path, *, hidden: int = 32) -> Path:
    """Write the model, and return its folder; each of its four heads has a quarter of what is `hidden`."""
    return write_base(folder / "random", context=CONTEXT, hidden=hidden)


def write_example(folder: Path, *, file: str = LOOP.name) -> Path:
    """Write the example's loop with a random model in place of the real one, and return its file."""
    text = LOOP.with_name(file).read_text(encoding="utf-8")
    assert REAL in text
    text = text.replace(REAL, f"file:{write_random_model(folder)}").replace(LOCAL, str(ROOT / ".tidemill"))
    shutil.copytree(LOOP.with_name("prompts"), folder / "prompts")
    written = folder / file
    written.write_text(text, encoding="utf-8")
    return written
