import subprocess
import sys

import pytest

pytest.importorskip("transformers")

LOADED = """
import sys
from tidemill_kit.models.serving_imports import leave_out_training
leave_out_training()
import torch
from transformers import BertConfig, BertModel, LlamaForCausalLM
from transformers.generation.continuous_batching import ContinuousBatchingManager
sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
model = BertModel(BertConfig(**sizes))
print(*model(input_ids=torch.zeros((1, 3), dtype=torch.long)).last_hidden_state.shape)
"""
FOUND = "print(*sorted({'sympy', 'scipy', 'torch.distributed.tensor', 'torch._dynamo.utils'} & set(sys.modules)))\n"


COMPILED = "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())\nimport scipy\n"


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """Give what one process prints that runs a model, and then compiles."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", LOADED + FOUND + COMPILED + FOUND],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.splitlines()


def test_a_model_is_loaded_and_runs_without_what_only_compiling_and_training_need(printed: list[str]) -> None:
    assert printed[:2] == ["1 3 8", ""]


def test_the_compiler_is_there_once_it_is_used(printed: list[str]) -> None:
    assert printed[2:] == ["2.0", "scipy sympy torch._dynamo.utils torch.distributed.tensor"]
