"""The embedding adapter on the real all-MiniLM-L6-v2."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.rag.tests.tokenizing import tokenizer_here
from tidemill_core.errors import NativePanic
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.bounded_tokenizers import with_tokenizer
from tidemill_local.models import EMBEDDINGS
from tidemill_local.places import MODELS
from tidemill_rag.embedding import batched, thread
from tidemill_rag.embedding.config import CONFIG_FILES, EmbeddingConfig
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import known_share, spans
from tidemill_rag.embedding.transformers import TransformersEmbedding
from tidemill_rag.errors import TextTooLong

FOLDER = MODELS / EMBEDDINGS


def opened(**settings: Any) -> TransformersEmbedding:  # noqa: ANN401 - of the adapter
    return TransformersEmbedding(
        FOLDER, EmbeddingThreads(), tokenizer_here(FOLDER), EmbeddingConfig.of(FOLDER), **settings
    )


@pytest.fixture(scope="module")
def model() -> TransformersEmbedding:
    return opened()


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_limits_and_sizes_are_read_from_the_files(model: TransformersEmbedding) -> None:
    assert (model.dimensions, model.max_tokens, model.special_tokens) == (384, 256, 2)


async def test_whole_texts_have_the_vectors_of_passages_and_are_refused_beyond_the_limit(
    model: TransformersEmbedding,
) -> None:
    texts = ["os.walk walks a directory tree.", "a"]

    whole = await model.embed_whole("acme", texts)

    for each, vector in zip(whole, await model.embed_passages("acme", texts), strict=True):
        assert each.vector == pytest.approx(vector, abs=1e-5)
    assert whole[1].tokens == 3
    assert (await model.embed_whole("acme", ["a " * 254]))[0].tokens == 256
    with pytest.raises(TextTooLong) as refused:
        await model.embed_whole("acme", ["a", "a " * 255])
    assert refused.value.violations[0].field == "texts[1]"


async def test_tokens_are_matched_as_bert_score_is_defined(model: TransformersEmbedding) -> None:
    text, reference = "the weather is cold today", "it is freezing today"
    matched, same, blank, long = await model.match_tokens(
        "acme", [(text, reference), (text, text), ("\u200b", text), ("a " * 900, "a")]
    )

    states = [await states_of(model, each) for each in (text, reference)]
    cosines = [[cosine(one, other) for other in states[1]] for one in states[0]]
    assert matched.precision == pytest.approx(sum(map(max, cosines)) / len(cosines), abs=1e-4)
    assert matched.recall == pytest.approx(sum(map(max, zip(*cosines, strict=True))) / len(states[1]), abs=1e-4)
    assert (same.precision, same.recall) == pytest.approx((1.0, 1.0), abs=1e-4)
    assert (blank.precision, blank.recall) == (0.0, 0.0), "it has no token but special ones"
    assert 0 < long.precision <= 1


async def test_texts_that_are_too_long_for_one_pass_are_matched_in_two_with_the_same_result(
    model: TransformersEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = ("the weather is cold today " * 8, "it is freezing today " * 6)
    (expected,) = await model.match_tokens("acme", [pair])
    passes, states = list[int](), model._states  # noqa: SLF001 - a pass

    def counted(batch: Sequence[Sequence[int]]) -> Sequence[NDArray[np.float32]]:
        passes.append(len(batch))
        return states(batch)

    monkeypatch.setattr(model, "_states", counted)
    monkeypatch.setattr(model, "_max_tokens", 50)
    monkeypatch.setattr(batched, "_COMPARED_TOKENS", 7)
    (matched,) = await model.match_tokens("acme", [pair])

    assert passes == [1, 1]
    assert (matched.precision, matched.recall) == pytest.approx((expected.precision, expected.recall), abs=1e-4)


async def states_of(model: TransformersEmbedding, text: str) -> list[list[float]]:
    """Return the states of a text's tokens without the first and last one, of length 1, by the network alone."""
    torch, network = model._torch, model._network  # noqa: SLF001 - what the definition is computed by
    (ids,) = await model._tokenizer.encode("acme", [text], limit=256)  # noqa: SLF001 - ditto
    with torch.inference_mode():
        hidden = network(input_ids=torch.tensor([ids])).last_hidden_state[0, 1:-1].float()
        found: list[list[float]] = torch.nn.functional.normalize(hidden, dim=1).tolist()
    return found


def test_a_model_without_sentence_transformers_files_is_pooled_by_mean_up_to_its_positions() -> None:
    config = EmbeddingConfig.read({"config.json": b'{"max_position_embeddings": 128}'})

    assert (config.max_tokens, config.pooling, config.query_prompt) == (128, "mean", "")


@pytest.mark.parametrize("said", [8193, 10**9])
def test_no_model_reads_more_of_a_text_than_delays_no_other(said: int) -> None:
    limits = {"sentence_bert_config.json": b'{"max_seq_length": %d}' % said}

    assert EmbeddingConfig.read(limits).max_tokens == 8192


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b'{"max_position_embeddings": -5}'),
        ("sentence_bert_config.json", b'{"max_seq_length": "512"}'),
        ("sentence_bert_config.json", b'{"max_seq_length": 1}'),
        ("sentence_bert_config.json", b"[512]"),
        ("1_Pooling/config.json", b"null"),
        ("config_sentence_transformers.json", b"[" * 100_000),
        ("config_sentence_transformers.json", b'{"prompts": {"query": ["x"]}}'),
        ("config_sentence_transformers.json", b'{"prompts": {"passage": "%s"}}' % (b"x" * 1001)),
    ],
)
def test_files_that_cannot_be_meant_are_refused_by_name(name: str, content: bytes) -> None:
    with pytest.raises(ArtifactRefused, match="json: "):
        EmbeddingConfig.read({name: content})


def test_prompts_and_pooling_of_other_models_are_read() -> None:
    files = dict.fromkeys(CONFIG_FILES, b"{}") | {
        "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
        "config_sentence_transformers.json": b'{"prompts": {"query": "query: ", "passage": "passage: "}}',
    }

    config = EmbeddingConfig.read(files)

    assert (config.pooling, config.query_prompt, config.passage_prompt) == ("cls", "query: ", "passage: ")


def test_tokens_are_spans_of_code_points() -> None:
    text = "Grüße 🎉 on the way"

    read = with_tokenizer(FOLDER / "tokenizer.json", spans, text)

    assert [text[start:end] for start, end in read][-2:] == ["the", "way"]


async def test_vectors_have_length_one_and_alike_texts_are_near(model: TransformersEmbedding) -> None:
    cat, kitten, tax = await model.embed_passages(
        "acme", ["A cat sleeps.", "A kitten naps.", "Tax forms are due in May."]
    )

    assert math.isclose(math.hypot(*cat), 1, abs_tol=1e-5)
    assert cosine(cat, kitten) > 0.5 > cosine(cat, tax)


async def test_a_text_has_the_same_vector_alone_and_among_others(model: TransformersEmbedding) -> None:
    texts = ["short", "a somewhat longer text about vectors " * 10, "mid size text", "x"]

    together = await model.embed_passages("acme", texts)

    for text, vector in zip(texts, together, strict=True):
        asked = await model.embed_query("acme", text)
        assert asked is not None
        assert cosine(asked, vector) > 0.9999


async def test_what_the_vocabulary_lacks_is_distinguished_from_what_it_has(model: TransformersEmbedding) -> None:
    def known(text: str) -> float:
        file, unknown = FOLDER / "tokenizer.json", tokenizer_here(FOLDER).facts.unknown
        return with_tokenizer(file, known_share, text, unknown)

    assert known("Where are the spare keys of the archive? E-2047!") == 1
    assert known("\u0e1f\u0e38\u0e15\u0e1a\u0e2d\u0e25?") < 1 / 8
    assert known("a" * 8000) < 1 / 8
    assert known("a" * 8000 + " The spare keys are in the archive.") > 1 / 2
    assert known("") == 0
    assert await model.embed_query("acme", "\u0e23\u0e32\u0e04\u0e32\u0e2b\u0e38\u0e49\u0e19?") is None


async def test_a_query_that_is_cut_or_has_an_unknown_word_has_no_vector_that_stands_for_all_of_it(
    model: TransformersEmbedding,
) -> None:
    whole, long = "Where are the spare keys?", "Where are the spare keys? " * 200

    assert await model.embed_whole_query("acme", whole) == await model.embed_query("acme", whole)
    for text in (long, f"{whole} \u0e23\u0e32\u0e04\u0e32"):
        assert await model.embed_whole_query("acme", text) is None
        assert await model.embed_query("acme", text) is not None


async def test_vectors_of_both_numeric_formats_find_each_other(model: TransformersEmbedding) -> None:
    half = opened(numeric_format="bfloat16")
    texts = ["A cat sleeps.", "Tax forms are due in May.", "a somewhat longer text about vectors " * 10]

    for one, other in zip(
        await model.embed_passages("acme", texts), await half.embed_passages("acme", texts), strict=True
    ):
        assert cosine(one, other) > 0.999
        assert math.isclose(math.hypot(*other), 1, abs_tol=1e-5)


async def test_what_is_above_the_limit_is_cut(model: TransformersEmbedding) -> None:
    start = "word " * 254

    [long, whole] = await model.embed_passages("acme", [start + "and much more " * 100, start])

    assert cosine(long, whole) > 0.9999


async def test_no_texts_are_no_vectors(model: TransformersEmbedding) -> None:
    assert await model.embed_passages("acme", []) == []


async def test_a_question_goes_before_passages_and_the_event_loop_goes_on(model: TransformersEmbedding) -> None:
    finished: list[str] = []
    lags: list[float] = []

    async def passages() -> None:
        await model.embed_passages("acme", ["many words " * 120] * 16)
        finished.append("passages")

    async def ask() -> None:
        await model.embed_query("acme", f"what is this, at {time.monotonic()}?")
        finished.append("question")

    async def watch() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - begun - 0.005)

    watching = asyncio.create_task(watch())
    work = asyncio.create_task(passages())
    await asyncio.sleep(0.02)
    await ask()
    await work
    watching.cancel()

    assert finished == ["question", "passages"]
    assert sorted(lags)[len(lags) // 2] < 0.25


async def test_work_that_was_cancelled_while_it_waited_is_not_done() -> None:
    thread, done = EmbeddingThreads(), []
    begun, gate = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait()

    first = asyncio.create_task(thread.run("acme", hold))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(thread.run("acme", lambda: done.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await first
    await thread.run("acme", lambda: None)

    assert done == []


async def test_passes_of_one_project_run_at_once_on_all_threads() -> None:
    both = threading.Barrier(2)

    places = await EmbeddingThreads(2).run_all("acme", [lambda: both.wait(10)] * 2)

    assert sorted(places) == [0, 1]


async def test_the_first_error_of_several_works_cancels_those_that_are_queued() -> None:
    threads, done = EmbeddingThreads(), list[str]()

    def broken() -> None:
        message = "broken"
        raise ValueError(message)

    with pytest.raises(ValueError, match="broken"):
        await threads.run_all("acme", [broken, lambda: time.sleep(0.2), *[lambda: done.append("later")] * 3])
    await threads.run("acme", lambda: None)

    assert done == []


async def test_memory_is_returned_to_the_system_once_when_no_more_work_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    returned, counted = threading.Semaphore(0), list[int]()

    working = list[threading.Thread]()

    def returning() -> None:
        if threading.current_thread() in working:  # threads of other tests become idle meanwhile
            counted.append(1)
            returned.release()

    monkeypatch.setattr(thread, "return_freed_memory", returning)
    threads = EmbeddingThreads(idle_s=0.05)

    for expected in (1, 2):
        await threads.run("acme", lambda: working.append(threading.current_thread()))
        assert await asyncio.to_thread(returned.acquire, timeout=10)
        assert len(counted) == expected
        assert not await asyncio.to_thread(returned.acquire, timeout=0.2)


async def test_projects_take_turns_whatever_one_of_them_asks_for() -> None:
    thread, done = EmbeddingThreads(), list[str]()
    begun, gate = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait()

    def asked(project: str, *, urgent: bool) -> "asyncio.Task[None]":
        return asyncio.create_task(thread.run(project, lambda: done.append(f"{project} {urgent}"), urgent=urgent))

    tasks = [asyncio.create_task(thread.run("acme", hold))]
    await asyncio.to_thread(begun.wait)
    for urgent in (False, True):
        tasks += [asked("greedy", urgent=urgent) for _ in range(5)] + [asked("acme", urgent=urgent)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)

    assert [each.split()[1] for each in done] == ["True"] * 6 + ["False"] * 6
    assert done.index("acme True") == 1
    assert done.index("acme False") == 7


class PanicException(BaseException):
    pass


@pytest.mark.parametrize("end", [PanicException, KeyboardInterrupt, SystemExit])
async def test_a_panic_of_the_work_is_the_callers_and_the_thread_goes_on(end: type[BaseException]) -> None:
    def broken() -> None:
        raise end

    thread = EmbeddingThreads()
    async with asyncio.timeout(30):
        with pytest.raises(NativePanic):
            await thread.run("acme", broken)
        assert await thread.run("acme", lambda: "goes on") == "goes on"


async def test_an_error_of_the_work_is_the_callers() -> None:
    def broken() -> None:
        message = "broken"
        raise ValueError(message)

    with pytest.raises(ValueError, match="broken"):
        await EmbeddingThreads().run("acme", broken)
