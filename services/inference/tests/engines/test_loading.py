"""Loading in a process that imports what a service imports, and nothing of pytest's."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.inference.tests.tiny_model import write_tiny_adapter, write_tiny_model

PUT = """
import sys
from pathlib import Path
from tidemill_inference.engines.loading import import_libraries
import_libraries()
import torch
from transformers import AutoModelForCausalLM
from tidemill_inference.engines.transformers.lora import LoraAdapter
tree = AutoModelForCausalLM.from_pretrained(sys.argv[1])
LoraAdapter.read(Path(sys.argv[2]), name="candidate", base="base").put_into(tree, dtype=torch.float32)
print(sum("lora_" in name for name, _ in tree.named_parameters()) > 0)
"""


@pytest.mark.long  # a turn of the loop serves an adapter, too, by a service that loads it so
def test_an_adapter_is_put_into_its_base_without_what_only_training_imports(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter", base)

    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", PUT, str(base), str(adapter)], capture_output=True, text=True, check=True, timeout=300
    )

    assert done.stdout.splitlines() == ["True"]
