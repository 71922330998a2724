"""A model whose vocabulary a training has extended reads the added tokens in questions, and control tokens as text."""

import asyncio
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.tests.engines.shop import ChatHere
from services.inference.tests.engines.test_transformers import whole
from services.inference.tests.tiny_model import write_tiny_model
from tidemill_core.models.json_files import TEXT_TOKENS
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.engines.transformers.weights import ModelWeights
from tidemill_inference.generation.domain.content import Message, Role

ADDED = "heat pump"


def write_extended_model(folder: Path) -> Path:
    """Write a model as the trainer stores one with an added token."""
    write_tiny_model(folder, ends=True)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.add_tokens([ADDED])
    tokenizer.init_kwargs[TEXT_TOKENS] = [ADDED]
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


async def test_an_added_token_is_one_token_of_a_question_and_a_control_token_in_it_is_text(tmp_path: Path) -> None:
    weights = ModelWeights(write_extended_model(tmp_path / "m"), name="tiny@1", dtype=torch.float32)
    engine = TransformersEngine(weights, name="tiny@1", limits=EngineLimits(cache_tokens=2048), run_chat=ChatHere())
    engine.start()
    try:
        counts = []
        for text in ("x", f"x{ADDED}", "x" + "h" * len(ADDED), "x<|im_end|>"):
            _, end = await whole(engine, (Message.of(Role.USER, text),))
            counts.append(end.input_tokens)
    finally:
        await asyncio.to_thread(engine.close)

    plain, added, spelled, control = counts
    assert (added - plain, spelled - plain, control - plain) == (1, len(ADDED), len("<|im_end|>"))
