import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.tests.engines.shop import ChatHere
from services.inference.tests.tiny_model import END, write_tiny_model
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.ports import Finish, Piece, Prompt
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.engines.transformers.weights import ModelWeights
from tidemill_inference.errors import ModelRefused
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_testkit.polling import eventually

HELLO = (Message.of(Role.SYSTEM, "You are tiny."), Message.of(Role.USER, "Hello"))
GREEDY = Sampling(temperature=0.0, max_output_tokens=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def an_engine(folder: Path, limits: EngineLimits) -> TransformersEngine:
    weights = ModelWeights(folder, name="tiny@1", dtype=torch.float32)
    return TransformersEngine(weights, name="tiny@1", limits=limits, run_chat=ChatHere())


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[TransformersEngine]:
    made = an_engine(folder, EngineLimits(cache_tokens=2048))
    made.start()
    yield made
    await asyncio.to_thread(made.close)


async def whole(
    engine: TransformersEngine, messages: tuple[Message, ...] = HELLO, sampling: Sampling = GREEDY
) -> tuple[str, Finish]:
    text, end = "", None
    async for piece in engine.generate("acme", Prompt(messages=messages, sampling=sampling), timeout_s=60):
        if isinstance(piece, Finish):
            end = piece
        elif isinstance(piece, Piece):
            text += piece.text
    assert end is not None
    return text, end


def by_transformers(folder: Path, messages: tuple[Message, ...], tokens: int) -> str:
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turns = [{"role": each.role.value, "content": each.text} for each in messages]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    made = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(made, skip_special_tokens=True))


async def test_it_says_what_transformers_itself_says(engine: TransformersEngine, folder: Path) -> None:
    text, end = await whole(engine)

    expected = by_transformers(folder, HELLO, 40)
    assert text == expected.rstrip("\ufffd")
    assert (end.reason, end.output_tokens) == ("length", 40)
    assert end.input_tokens == await engine.count_tokens("acme", Prompt(messages=HELLO))


async def test_what_earlier_requests_left_in_the_cache_does_not_matter(engine: TransformersEngine) -> None:
    questions = [(Message.of(Role.USER, "abc " * size),) for size in (1, 7, 20, 3, 11)]
    alone = [await whole(engine, each) for each in questions]
    processor = engine._manager.batch_processor  # noqa: SLF001 - transformers tells it nowhere else
    assert processor is not None
    processor.cache.evict_cached_blocks()
    processor.cache.cache_tensor.view(torch.float32).fill_(torch.nan)

    together = await asyncio.gather(*(whole(engine, each) for each in questions))

    assert together == alone


async def test_a_prompt_longer_than_a_step_is_read_in_several(folder: Path, engine: TransformersEngine) -> None:
    small_steps = an_engine(folder, EngineLimits(cache_tokens=2048, step_tokens=16))
    small_steps.start()
    try:
        assert await whole(small_steps) == await whole(engine)
    finally:
        await asyncio.to_thread(small_steps.close)


async def test_a_very_small_nucleus_is_greedy(engine: TransformersEngine) -> None:
    narrow = Sampling(temperature=1.0, top_p=1e-6, seed=5, max_output_tokens=40)

    assert await whole(engine, HELLO, narrow) == await whole(engine)


async def test_a_model_that_ends_its_answer_says_so(tmp_path: Path) -> None:
    made = an_engine(write_tiny_model(tmp_path, ends=True, seed=3), EngineLimits())
    made.start()
    hot = [Sampling(temperature=2.0, seed=seed, max_output_tokens=400) for seed in range(6)]
    try:
        answers = await asyncio.gather(*(whole(made, HELLO, each) for each in hot))
    finally:
        await asyncio.to_thread(made.close)

    stopped = [(text, end) for text, end in answers if end.reason == "stop"]
    assert stopped
    assert all(end.output_tokens < 400 and END not in text for text, end in stopped)


async def test_leaving_takes_a_request_out_of_the_batch(engine: TransformersEngine) -> None:
    pieces = engine.generate("acme", Prompt(messages=HELLO, sampling=Sampling(max_output_tokens=400)), timeout_s=60)
    await anext(pieces)
    assert len(_active(engine)) == 1

    await pieces.aclose()

    await eventually(lambda: not _active(engine))
    assert not engine._manager.output_router.result_handlers  # noqa: SLF001 - what a leak would look like


async def test_a_request_past_its_time_leaves_the_batch(engine: TransformersEngine) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async for _ in engine.generate(
            "acme", Prompt(messages=HELLO, sampling=Sampling(max_output_tokens=440)), timeout_s=0.05
        ):
            pass

    assert time.monotonic() - began < 30
    await eventually(lambda: not _active(engine))


async def test_a_prompt_beyond_the_context_is_refused(engine: TransformersEngine) -> None:
    assert engine.context_tokens == 512
    with pytest.raises(InvalidInput, match="has 512"):
        await whole(engine, (Message.of(Role.USER, "x" * 600),))


async def test_characters_of_several_bytes_come_whole(engine: TransformersEngine) -> None:
    sampling = Sampling(temperature=2.0, seed=11, max_output_tokens=400)

    pieces = [
        each.text
        async for each in engine.generate("acme", Prompt(messages=HELLO, sampling=sampling), timeout_s=60)
        if isinstance(each, Piece)
    ]

    assert all(piece.encode() for piece in pieces)
    assert any(len(piece.encode()) > len(piece) for piece in pieces)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')

    with pytest.raises(ModelRefused, match="is missing"):
        an_engine(tmp_path, EngineLimits())


def _active(engine: TransformersEngine) -> dict[str, object]:
    processor = engine._manager.batch_processor  # noqa: SLF001 - transformers tells it nowhere else
    return dict(processor.scheduler.active_requests) if processor else {}
