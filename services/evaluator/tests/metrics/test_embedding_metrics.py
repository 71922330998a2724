"""Metrics of what texts mean: what is embedded, by which version, and what keeps them from a value."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from services.evaluator.tests.builders import ADA, cases, passage
from services.evaluator.tests.harness import Evaluator, away
from services.evaluator.tests.metrics.embedder import InMemoryEmbedder, StubTextEmbeddings
from tidemill.rag.v1.text_embedding_service_pb2_grpc import add_TextEmbeddingServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_core.grpc.client import open_channel
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair
from tidemill_evaluator.metrics.embedding_metrics import EmbeddingMetrics
from tidemill_evaluator.metrics.ports import MAX_TEXTS, TextRefused
from tidemill_evaluator.metrics.rag import RagEmbedder
from tidemill_evaluator.metrics.text_vectors import TextVectors
from tidemill_kit.workers.fair_share import Turns

SIMILARITY, FAITHFULNESS = "embedding_similarity:minilm", "faithfulness:collection:handbook"


def family(embedder: InMemoryEmbedder) -> EmbeddingMetrics:
    vectors = TextVectors(embedder=embedder)
    return EmbeddingMetrics(embedder=embedder, matcher=embedder, vectors=vectors, turns=Turns(1), max_sentences=64)


def pair(baseline: str | None, candidate: str | None, *passages: str) -> Pair:
    sides = [None if text is None else GivenAnswer(text=text, passages=passages) for text in (baseline, candidate)]
    pins = {SIMILARITY: "minilm@2", FAITHFULNESS: "minilm@2", "embedding_similarity:e5": "e5@1"}
    return Pair(case=cases(1)[0], baseline=sides[0], candidate=sides[1], pins=pins)


async def test_both_sides_are_scored_by_the_pinned_versions_and_texts_are_embedded_once() -> None:
    embedder = InMemoryEmbedder()

    scores = await family(embedder).scores(
        ADA, [SIMILARITY, FAITHFULNESS, "embedding_similarity:e5"], pair("it is number 1", "no", "it is number 1")
    )

    ones = dict.fromkeys((SIMILARITY, FAITHFULNESS, "embedding_similarity:e5"), 1.0)
    assert scores.baseline == pytest.approx(ones)
    assert scores.candidate == dict.fromkeys(ones, 0.0)
    assert [sorted(texts) for texts in embedder.calls] == [["it is number 1", "no"]] * 2  # of each model


async def test_bert_score_is_the_f1_of_matched_tokens_and_a_blank_answer_matches_none() -> None:
    embedder, name = InMemoryEmbedder(), "bert_score:minilm"
    given = replace(pair("it is number 1 or 2", " "), pins={name: "minilm@2", SIMILARITY: "minilm@2"})

    scores = await family(embedder).scores(ADA, [name, SIMILARITY], given)
    of_one = await family(embedder).scores(ADA, [name], replace(given, baseline=None))

    assert scores.baseline[name] == pytest.approx(2 * (4 / 6) * 1.0 / (4 / 6 + 1.0))
    assert scores.candidate == {name: 0.0, SIMILARITY: 0.0}
    assert scores.baseline.keys() == {name, SIMILARITY}
    assert (of_one.baseline, of_one.candidate) == ({}, {name: 0.0})
    assert embedder.matched == [("it is number 1 or 2", "it is number 1")]


async def test_bert_score_of_a_model_that_is_gone_ends_the_evaluation() -> None:
    embedder, name = InMemoryEmbedder(), "bert_score:minilm"

    with pytest.raises(NoVerdict, match=f"{name} cannot be computed"):
        await family(embedder).scores(ADA, [name], replace(pair("yes", "no"), pins={name: "lost@1"}))


async def test_a_side_that_failed_has_no_scores_and_is_not_embedded() -> None:
    embedder = InMemoryEmbedder()

    scores = await family(embedder).scores(ADA, [SIMILARITY], pair(None, " "))

    assert (scores.baseline, scores.candidate) == ({}, {SIMILARITY: 0.0})
    assert embedder.calls == []


async def test_what_is_too_long_for_the_model_has_the_mean_of_its_parts_and_what_it_refuses_has_no_value() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)
    long = "one two three four five six seven eight nine"
    embedder.unusable = {"odd"}

    found = await vectors(ADA, "minilm@2", ["one", long, "odd", "nine"])

    assert [found[text] for text in ("one", "nine")] == [embedder.words.of(text) for text in ("one", "nine")]
    assert found["odd"] is None
    whole = found[long]
    assert whole
    assert sum(one * other for one, other in zip(whole, embedder.words.of(long), strict=True)) > 0.95
    scores = await family(embedder).scores(ADA, [SIMILARITY], pair("odd", "it is number 1"))
    assert scores.baseline == {SIMILARITY: None}
    assert scores.candidate == pytest.approx({SIMILARITY: 1.0})


async def test_a_text_of_one_character_that_is_too_long_ends_without_a_value() -> None:
    class Strict(InMemoryEmbedder):
        async def embed(self, caller: Caller, version: str, texts: object) -> list[list[float]]:
            del caller, version, texts
            raise TextRefused(0, too_long=True)

    assert await TextVectors(embedder=Strict())(ADA, "minilm@2", ["abc"]) == {"abc": None}


async def test_cases_that_are_scored_together_share_calls_that_are_no_larger_than_rag_allows() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)
    of_cases = [[f"text {number}", f"text {number + 1}", "shared"] for number in range(100)]

    found = await asyncio.gather(*(vectors(ADA, "minilm@2", texts) for texts in of_cases))

    assert [[*each] for each in found] == of_cases
    assert len(embedder.calls) == 3  # 3 texts of the first case, then what all others wait for
    assert max(map(len, embedder.calls)) == MAX_TEXTS
    embedded = [text for call in embedder.calls for text in call]
    assert len(embedded) == len(set(embedded)) == 102


async def test_a_failed_call_is_the_failure_of_its_case_and_the_next_one_goes_on() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)
    embedder.fails = [away()]

    one, two = await asyncio.gather(
        *(vectors(ADA, "minilm@2", [text]) for text in ("one", "two")), return_exceptions=True
    )

    assert isinstance(one, DependencyUnavailable)
    assert two == {"two": embedder.words.of("two")}


async def test_a_case_that_is_cancelled_leaves_nothing_behind() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)
    embedder.going_on = asyncio.Event()
    working = asyncio.create_task(vectors(ADA, "minilm@2", ["one"]))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(vectors(ADA, "minilm@2", ["one", "two"]))
    await asyncio.sleep(0)
    working.cancel()
    embedder.going_on.set()

    assert await waiting == {text: embedder.words.of(text) for text in ("one", "two")}
    assert working.cancelled()
    assert not vectors.lines


async def test_vectors_that_a_cancelled_case_waited_for_are_not_kept() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)
    embedder.going_on = first_goes_on = asyncio.Event()
    first, second, cancelled = [asyncio.create_task(vectors(ADA, "minilm@2", [text])) for text in ("a", "b", "c")]
    await embedder.called.wait()
    line = vectors.lines[ADA.project, "minilm@2"]
    embedder.called.clear()
    embedder.going_on = asyncio.Event()
    first_goes_on.set()
    await embedder.called.wait()
    cancelled.cancel()
    await asyncio.wait({cancelled})
    embedder.going_on.set()
    await asyncio.gather(first, second)

    assert embedder.calls == [["a"], ["b", "c"]]
    assert line.known == {}


async def test_two_projects_share_neither_calls_nor_vectors() -> None:
    embedder = InMemoryEmbedder()
    vectors = TextVectors(embedder=embedder)

    await asyncio.gather(*(vectors(Caller(project=each), "minilm@2", ["one"]) for each in ("acme", "globex")))

    assert embedder.calls == [["one"], ["one"]]


async def test_an_evaluation_by_hand_of_a_model_that_cannot_embed_is_refused_and_a_gate_may_come_before_its_model() -> (
    None
):
    metrics = family(InMemoryEmbedder())
    names = ["embedding_similarity:lost"]

    with pytest.raises(NoVerdict, match="embedding_similarity:lost cannot be computed: lost does not exist"):
        await metrics.check(ADA, names, gating=False)
    await metrics.check(ADA, names, gating=True)
    with pytest.raises(NoVerdict, match="name an embedding model") as refused:
        await metrics.pin(ADA, names, answering=[], gating=True)
    assert refused.value.reason == "EMBEDDING_UNAVAILABLE"


async def test_an_evaluation_says_by_which_version_it_embedded() -> None:
    embedder = InMemoryEmbedder()
    evaluator = Evaluator(families=[family(embedder)])
    await evaluator.with_suite()
    evaluator.candidate_is_right()
    evaluator.inference.finds = {each.question: [passage(each.reference)] for each in cases()}
    await evaluator.with_gate(
        Requirement(suite="truth", metric=SIMILARITY, gain_above=0.1),
        Requirement(suite="truth", metric=FAITHFULNESS, gain_above=0.1),
    )
    await evaluator.register()

    done = await evaluator.finish()

    required = done.comparisons[:2]
    assert [(each.metric, each.baseline, each.holds) for each in required] == [
        (SIMILARITY, 0.0, True),
        (FAITHFULNESS, 0.0, True),
    ]
    assert [each.candidate for each in required] == pytest.approx([1.0, 1.0])
    assert done.message == f"{SIMILARITY} is by minilm@2; {FAITHFULNESS} is by minilm@2"


async def test_an_evaluation_waits_for_rag_and_ends_where_its_model_is_deleted_meanwhile() -> None:
    embedder = InMemoryEmbedder()
    evaluator = Evaluator(families=[family(embedder)])
    await evaluator.with_suite()
    started = await evaluator.by_hand(metrics=[SIMILARITY])
    embedder.fails = [DependencyUnavailable("no answer", dependency="rag")] * 3

    waiting = await evaluator.finish(started)
    assert (waiting.state, waiting.message) == (State.QUEUED, "waits for rag: no answer")
    embedder.fails = []
    embedder.versions = {"minilm": "minilm@3"}
    embedder.going_on = asyncio.Event()
    running = asyncio.create_task(evaluator.finish(started))
    await embedder.called.wait()
    embedder.versions.clear()
    embedder.going_on.set()
    ended = await running

    assert (ended.state, ended.reason) == (State.FAILED, "EMBEDDING_UNAVAILABLE")
    assert "minilm@3 does not exist" in ended.message


async def test_passages_that_no_side_has_are_no_evidence() -> None:
    evaluator = Evaluator(families=[family(InMemoryEmbedder())])
    await evaluator.with_suite()

    done = await evaluator.finish(await evaluator.by_hand(metrics=[FAITHFULNESS]))

    (found,) = [each for each in done.comparisons if each.metric == FAITHFULNESS]
    assert (found.cases, found.missing) == (0, 3)


async def test_rag_is_asked_by_the_pinned_version_and_its_refusals_are_those_of_texts_or_of_the_model() -> None:
    stub, server = StubTextEmbeddings(), grpc.aio.server()
    add_TextEmbeddingServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", name="rag") as channel:
        embedder = RagEmbedder(channel, timeout_s=20.0)
        versions = [await embedder.version(ADA, each) for each in ("minilm", "collection:handbook")]
        vectors = await embedder.embed(ADA, "minilm@2", ["one", "two"])
        (match,) = await embedder.match(ADA, "minilm@2", [("one two", "two")])
        with pytest.raises(NotFound):
            await embedder.match(ADA, "lost@1", [("one", "two")])
        with pytest.raises(NotFound):
            await embedder.version(ADA, "lost")
        with pytest.raises(TextRefused) as refused:
            await embedder.embed(ADA, "minilm@2", ["one", "a b c d e f g h i"])
    await server.stop(1.0)

    assert versions == ["minilm@2", "minilm@2"]
    assert (match.precision, match.recall) == (0.5, 1.0)
    assert [*vectors[0], *vectors[1]] == pytest.approx([*stub.words.of("one"), *stub.words.of("two")])
    assert (refused.value.number, refused.value.too_long) == (1, True)
    assert [(each.model, each.collection, list(each.texts)) for each in stub.asked[:3]] == [
        ("minilm", "", ["?"]),
        ("", "handbook", ["?"]),
        ("minilm@2", "", ["one", "two"]),
    ]
