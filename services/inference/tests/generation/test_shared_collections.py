"""Answers on a collection of another project: found as a search finds, and recorded without keeping what is its own."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest

from services.inference.tests.fakes import AnsweringHarness
from services.inference.tests.generation.test_read_inferences import ANN, BOB, OPERATOR, answered
from services.inference.tests.generation.test_show_prompt import Documents, shows, spans
from tidemill.content.v1 import content_pb2
from tidemill.rag.v1 import collection_pb2
from tidemill.rag.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from tidemill.rag.v1.retrieval_service_pb2_grpc import add_RetrievalServiceServicer_to_server
from tidemill_core.application import Caller, PageRequest
from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.domain.errors import AnswerRestricted, PromptNotRecorded
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.rag import RagRetriever
from tidemill_inference.generation.read_inferences import ReadInferences
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import grant, service_channel
from tidemill_testkit.stubs.rag import StubPassage, StubRag

NAME = "globex/handbook"
TITLE = "Globex's own"
SOURCE, KEY, URI, COPY = "wiki", "pay.md", "https://globex.example/pay", "wiki/copy.md"
FOREIGN = replace(
    spans("os.walk walks.", document="theirs")[0],
    title=TITLE,
    source=SOURCE,
    key=KEY,
    uri=URI,
    also_in=(COPY,),
    collection=NAME,
)
OWN = replace(spans("It is a generator.", document="ours")[0], id="2", title="Our own")


class Answers:
    """An answer on a passage of each project, and what is shared."""

    def __init__(self) -> None:
        self.harness = AnsweringHarness(passages=(FOREIGN, OWN))
        self.grants = Grants(Revocations())
        self.harness.reading = ReadInferences(
            inferences=self.harness.inferences,
            readers=self.harness.readers,
            shared=lambda project, name: self.grants.resolve(project, Shared.COLLECTION, name),
        )
        self.share()

    def share(self, *, seq: int = 1, revoked: bool = False) -> None:
        self.grants.apply(grant(NAME, Shared.COLLECTION, to="acme", seq=seq, revoked=revoked))

    async def asked(self) -> Inference:
        return await answered(self.harness)

    async def read(self, caller: Caller) -> Inference:
        answer = await self.harness.only_record()
        shown = await self.harness.reading.get(caller, answer.id)
        assert (await self.harness.reading.list(caller, page=PageRequest())).items == [shown]
        return shown


@pytest.fixture
async def answers() -> Answers:
    answers = Answers()
    await answers.asked()
    return answers


def named(passages: tuple[Passage, ...]) -> list[str]:
    return [each.title for each in passages]


@pytest.mark.parametrize("caller", [ANN, BOB, OPERATOR])
async def test_a_record_names_what_it_rests_on_as_long_as_a_search_finds_it(answers: Answers, caller: Caller) -> None:
    shown = await answers.read(caller)

    assert named(shown.passages) == [TITLE, "Our own"]
    assert shown.output
    assert not shown.restricted


@pytest.mark.parametrize("gone", ["revoked", "readers"])
@pytest.mark.parametrize("caller", [ANN, OPERATOR])
async def test_once_it_does_not_the_record_keeps_the_answer_and_no_name_of_the_document(
    answers: Answers, caller: Caller, gone: str
) -> None:
    if gone == "revoked":
        answers.share(seq=2, revoked=True)
    else:
        answers.harness.readers.readers["theirs"] = {"user:ann", "group:hr"}

    shown = await answers.read(caller)

    assert named(shown.passages) == ["", "Our own"]
    for value in (TITLE, SOURCE, KEY, URI, COPY):
        assert value not in str(shown.passages)
    assert shown.output
    assert shown.restricted


@pytest.mark.parametrize("gone", ["revoked", "readers"])
async def test_others_than_who_asked_see_nothing_of_it_then(answers: Answers, gone: str) -> None:
    if gone == "revoked":
        answers.share(seq=2, revoked=True)
    else:
        answers.harness.readers.readers["theirs"] = {"user:bob"}

    shown = await answers.read(BOB)

    assert (shown.messages, shown.output, shown.passages) == ((), (), ())


async def test_a_repeated_question_gets_its_answer_without_names_of_another_project_s_documents(
    answers: Answers,
) -> None:
    again = await answers.asked()

    assert again.output
    assert named(again.passages) == ["", "Our own"]


async def test_what_the_model_saw_of_another_project_is_not_copied_into_examples(answers: Answers) -> None:
    answer = await answers.harness.only_record()
    documents = Documents((FOREIGN, OWN))

    with pytest.raises(PromptNotRecorded, match=NAME):
        await shows(answers.harness, documents)(OPERATOR, answer.id)
    answers.share(seq=2, revoked=True)
    with pytest.raises(AnswerRestricted):
        await shows(answers.harness, documents)(OPERATOR, answer.id)

    assert documents.asked == []


@pytest.fixture
async def retriever() -> AsyncIterator[tuple[RagRetriever, StubRag]]:
    stub, server = StubRag(), grpc.aio.server()  # type: ignore[abstract] # it has what inference calls
    found = StubPassage(passage=content_pb2.Passage(document="d", version=1, end=1, text="x", score=0.9, title=TITLE))
    for name in (NAME, "acme/own", "own"):
        stub.add(collection_pb2.Collection(id=name, live_index=1), passages=[found])
    add_CollectionServiceServicer_to_server(stub, server)
    add_RetrievalServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with service_channel("inference", f"127.0.0.1:{port}", name="rag") as channel:
        yield RagRetriever(channel, timeout_s=5), stub
    await server.stop(None)


@pytest.mark.parametrize(("collection", "recorded"), [(NAME, NAME), ("own", ""), ("acme/own", "")])
async def test_passages_say_which_collection_of_another_project_has_them(
    retriever: tuple[RagRetriever, StubRag], collection: str, recorded: str
) -> None:
    rag, _ = retriever

    found = await rag.search(ANN, Retrieval(collection=collection), question="Pay?", principals=(), timeout_s=5)

    assert [each.collection for each in found.passages] == [recorded]


async def test_of_several_collections_each_is_checked_and_passages_name_those_of_another_project(
    retriever: tuple[RagRetriever, StubRag],
) -> None:
    rag, stub = retriever
    both = Retrieval(collection="own", other_collections=(NAME,))

    await rag.check(ANN, both)
    found = await rag.search(ANN, both, question="Pay?", principals=(), timeout_s=5)
    with pytest.raises(ReferenceNotFound, match=r"retrieval\.other_collections\[0\]"):
        await rag.check(ANN, Retrieval(collection="own", other_collections=("none",)))

    assert [each.collection for each in found.passages] == ["", NAME]
    assert [list(request.other_collections) for _, request in stub.searches] == [[], [NAME]]


async def test_a_collection_of_another_project_is_checked_by_what_a_grant_lets_one_do(
    retriever: tuple[RagRetriever, StubRag],
) -> None:
    rag, stub = retriever

    await rag.check(ANN, Retrieval(collection=NAME))
    with pytest.raises(ReferenceNotFound) as absent:
        await rag.check(ANN, Retrieval(collection="globex/none"))

    assert [request.collection for _, request in stub.searches][:1] == [NAME]
    assert "globex/none" in str(absent.value)
