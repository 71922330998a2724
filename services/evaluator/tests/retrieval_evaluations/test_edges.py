"""gRPC, MongoDB and rag's API: what crosses the edges of retrieval evaluations."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.retrieval_evaluations.harness import (
    OTHER,
    InMemoryRetrievalResults,
    RetrievalEvaluator,
)
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import retrieval_evaluation_pb2 as pb
from tidemill.evaluator.v1 import retrieval_evaluation_service_pb2 as rpc
from tidemill.evaluator.v1.retrieval_evaluation_service_pb2_grpc import (
    RetrievalEvaluationServiceStub,
    add_RetrievalEvaluationServiceServicer_to_server,
)
from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.retrieval_evaluations.domain.results import RankedDocuments, RetrievalResult
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import RetrievalSide
from tidemill_evaluator.retrieval_evaluations.grpc import GrpcRetrievalEvaluationService
from tidemill_evaluator.retrieval_evaluations.messages import event_message
from tidemill_evaluator.retrieval_evaluations.mongo_results import MongoRetrievalResults
from tidemill_evaluator.retrieval_evaluations.ports import RetrievalResults, SearchQuery
from tidemill_evaluator.retrieval_evaluations.rag import RagRetrieval
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.rag import StubPassage, StubRag

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"
SERVICE = Caller(project="acme")
FOUND = RetrievalResult(
    case="q1",
    baseline=RankedDocuments(documents=("d1", "d2"), scores={"ndcg": 1.0}, latency_s=0.01),
    candidate=RankedDocuments(failure="INVALID_INPUT"),
    gone=("d3",),
)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture(params=["in memory", "mongodb"])
def results(request: pytest.FixtureRequest) -> RetrievalResults:
    if request.param == "in memory":
        return InMemoryRetrievalResults()
    database: Database = request.getfixturevalue("database")
    return MongoRetrievalResults(database["retrieval_results"])


async def test_results_are_read_as_they_were_kept_of_their_evaluation_alone(results: RetrievalResults) -> None:
    await results.keep("acme", "e1", FOUND, epoch=2)

    assert await results.read("acme", "e1") == {"q1": FOUND}
    assert await results.read("globex", "e1") == await results.read("acme", "e2") == {}
    with pytest.raises(EvaluationLost):
        await results.keep("acme", "e1", FOUND, epoch=1)


async def test_an_evaluation_is_started_followed_and_cancelled_over_grpc() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.finds(1, "d1")
    evaluator.retrieval.known = {"d2", "d3"}
    server = DirectServer(
        settings(),
        [
            (
                add_RetrievalEvaluationServiceServicer_to_server,
                GrpcRetrievalEvaluationService(
                    evaluations=evaluator.crud, start=evaluator.start, list_results=evaluator.list_results
                ),
            )
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = RetrievalEvaluationServiceStub(channel)
        candidate = pb.RetrievalSide(settings=ParseDict(json.loads(OTHER.settings), Struct()))
        request = rpc.StartRetrievalEvaluationRequest(suite="questions", collection="handbook", candidate=candidate)
        started = (await api.StartRetrievalEvaluation(request)).evaluation
        (queued,) = await evaluator.all()
        await evaluator.finish(queued)
        done = (await api.GetRetrievalEvaluation(rpc.GetRetrievalEvaluationRequest(id=started.id))).evaluation
        listed = await api.ListRetrievalEvaluations(rpc.ListRetrievalEvaluationsRequest(filter='collection = "wiki"'))
        found = (await api.ListRetrievalResults(rpc.ListRetrievalResultsRequest(evaluation=started.id))).results
        with pytest.raises(PreconditionFailed, match="already completed"):
            await api.CancelRetrievalEvaluation(rpc.CancelRetrievalEvaluationRequest(id=started.id))
    await server.stop(1.0)

    assert (done.candidate.index, MessageToDict(done.candidate.settings)) == (3, {"sparse_weight": 1.5})
    assert (done.suite_version, done.answered, done.cases) == (1, 3, 3)
    assert [each.metric for each in done.measures] == ["ndcg", "recall", "mrr", "hit", "latency_ms"]
    assert list(listed.evaluations) == []
    assert (found[0].case, found[0].question, list(found[0].baseline.documents)) == ("q1", "where is 1?", ["d1"])


async def test_rag_is_asked_by_the_settings_as_it_knows_them() -> None:
    rag = StubRag()  # type: ignore[abstract] # it has what evaluator calls
    server = grpc.aio.server()
    add_CollectionServiceServicer_to_server(rag, server)
    add_RetrievalServiceServicer_to_server(rag, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    live = collection_pb2.IndexVersion(number=2, state=collection_pb2.INDEX_STATE_LIVE, documents_indexed=7)
    live.search.sparse_weight = 0.3
    gone = collection_pb2.IndexVersion(number=1, state=collection_pb2.INDEX_STATE_RETIRED)
    search = collection_pb2.SearchSettings(sparse_weight=0.7)
    passages = [StubPassage(passage=content_pb2.Passage(document=each)) for each in ("d1", "d1", "d2")]
    rag.add(
        collection_pb2.Collection(id="handbook", live_index=2, indexes=[gone, live], search=search), passages=passages
    )
    side = RetrievalSide(index=2, settings='{"sparse_weight": 1.5}')
    query = SearchQuery(collection="handbook", text="where?", side=side, passages=40, principals=("group:legal",))
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        retrieval = RagRetrieval(channel)
        found = await retrieval.collection(SERVICE, "handbook")
        documents = await retrieval.search(SERVICE, query)
        there = [await retrieval.has_document(SERVICE, "handbook", each, index=2) for each in ("d1", "d9")]
        with pytest.raises(InvalidInput, match=r"settings: are not .*minimum_score"):
            await retrieval.search(
                SERVICE,
                SearchQuery(
                    collection="handbook",
                    text="where?",
                    side=RetrievalSide(settings='{"minimum_score": 1}'),
                    passages=1,
                ),
            )
        with pytest.raises(NotFound):
            await retrieval.collection(SERVICE, "wiki")
    await server.stop(None)

    assert (found.live_index, found.documents, json.loads(found.settings)["sparse_weight"]) == (2, {2: 7}, 0.7)
    assert {number: json.loads(text) for number, text in found.index_settings.items()} == {2: {"sparse_weight": 0.3}}
    assert (documents, there) == (["d1", "d2"], [True, False])
    ((_, asked),) = rag.searches
    assert (asked.index, asked.top_k, asked.settings.sparse_weight) == (2, 40, 1.5)
    assert list(asked.principals) == ["group:legal"]


async def test_events_are_those_of_the_examples() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.finds(1, "d1")
    done = await evaluator.finish(await evaluator.begun(candidate=OTHER))
    assert done.state is State.COMPLETED

    for seq, event in enumerate(evaluator.evaluations.published, start=1):
        ce_type, message = event_message(done, event, seq)
        golden = json.loads((EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8"))
        sent = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        assert set(golden) == set(sent)
        assert (sent["collection"], sent["baseline_index"], sent["suite_version"]) == ("handbook", 3, 1)
