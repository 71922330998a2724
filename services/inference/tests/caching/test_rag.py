"""Earlier questions at rag."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from services.inference.tests.fakes import ADA
from tidemill.rag.v1.similar_text_service_pb2_grpc import add_SimilarTextServiceServicer_to_server
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_inference.caching.domain.policy import SemanticCachePolicy
from tidemill_inference.caching.ports import SimilarQuestion
from tidemill_inference.caching.rag import RagSimilarQuestions
from tidemill_testkit.access import admin_channel
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stubs.similar_texts import StubSimilarTexts

POLICY = SemanticCachePolicy(embedding="minilm", threshold=0.7)


@pytest.fixture
async def rag() -> AsyncIterator[tuple[StubSimilarTexts, RagSimilarQuestions]]:
    server, stub = grpc.aio.server(), StubSimilarTexts("minilm")
    add_SimilarTextServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", name="rag", project=ADA.project) as channel:
        yield stub, RagSimilarQuestions(channel, timeout_s=5)
    await server.stop(None)


async def test_a_question_is_put_found_and_removed(rag: tuple[StubSimilarTexts, RagSimilarQuestions]) -> None:
    stub, questions = rag
    for number, text in enumerate(("a b c d", "a b c e")):
        await questions.put(ADA, POLICY, scope="s", text=text, inference=f"i{number}", end_user="ada", expire_time=NOON)

    found = await questions.nearest(ADA, POLICY, scope="s", text="a b c d", limit=2)
    nearer = await questions.nearest(ADA, replace(POLICY, threshold=0.5), scope="s", text="a b c d", limit=2)

    assert found == [SimilarQuestion(inference="i0", similarity=1.0)]
    assert [each.inference for each in nearer] == ["i0", "i1"]
    assert {each.end_user for each in stub.kept.values()} == {"ada"}
    await questions.remove(ADA, ["i0"])
    assert await questions.nearest(ADA, POLICY, scope="s", text="a b c d", limit=2) == []


async def test_a_model_that_is_not_there_is_refused_by_its_field(
    rag: tuple[StubSimilarTexts, RagSimilarQuestions],
) -> None:
    _, questions = rag

    await questions.check(ADA, POLICY)
    with pytest.raises(InvalidInput, match="is absent: there is no model absent"):
        await questions.check(ADA, replace(POLICY, embedding="absent"))


async def test_a_rag_that_is_not_there_is_an_outage() -> None:
    async with admin_channel("127.0.0.1:1", name="rag", project=ADA.project, timeout_s=1) as channel:
        with pytest.raises(DependencyUnavailable):
            await RagSimilarQuestions(channel, timeout_s=1).check(ADA, POLICY)
