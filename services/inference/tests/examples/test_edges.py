"""Examples at MongoDB, rag and ingest."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc
import pytest
from google.protobuf.json_format import MessageToJson

from services.inference.tests.examples.library import DECLARED, EXAMPLES, InMemoryExamples, InMemorySets, example
from services.inference.tests.fakes import ADA
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill.ingest.v1 import dataset_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill.rag.v1.similar_text_service_pb2_grpc import add_SimilarTextServiceServicer_to_server
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.examples.domain.example_set import Example, ExampleSet, SetState
from tidemill_inference.examples.ingest import IngestVersions
from tidemill_inference.examples.mongo import MongoExamples, MongoExampleSets, pending_sets
from tidemill_inference.examples.ports import ExampleSets, StoredExamples
from tidemill_inference.examples.rag import RagQuestionVectors
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.clocks import NOON
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.ingest import StubDatasets
from tidemill_testkit.stubs.similar_texts import StubSimilarTexts

FRESH = ExampleSet.of("acme", DECLARED, now=NOON)
BUCKET = "tidemill-ingest-datasets"


@pytest.fixture(params=["memory", "mongo"])
async def stores(request: pytest.FixtureRequest, stack: Addresses) -> AsyncIterator[tuple[ExampleSets, StoredExamples]]:
    if request.param == "memory":
        yield InMemorySets(), InMemoryExamples()
        return
    client, name = connect(stack.mongo, timeout_s=10), unique_name("examples")
    examples = MongoExamples(client[name]["examples"])
    await examples.ensure_indexes()
    yield MongoExampleSets(client[name]["sets"]), examples
    await client.drop_database(name)
    client.close()


async def test_a_set_is_added_once_and_saved_but_for_its_use(stores: tuple[ExampleSets, StoredExamples]) -> None:
    sets, _ = stores
    later = NOON + timedelta(hours=2)

    assert not await sets.save(FRESH)
    await sets.add(FRESH)
    await sets.use("acme", FRESH.id, now=later)
    assert await sets.save(replace(FRESH, state=SetState.READY, part="p1", why="", check_at=later))
    await sets.add(FRESH)

    assert await sets.get("acme", FRESH.id) == replace(
        FRESH, state=SetState.READY, part="p1", check_at=later, used_at=later
    )
    assert await sets.get("globex", FRESH.id) is None
    assert [await sets.count(of, limit=9) for of in ("acme", "globex")] == [1, 0]
    await sets.remove("acme", FRESH.id)
    assert await sets.get("acme", FRESH.id) is None


async def test_examples_are_read_by_id_of_their_part_alone(stores: tuple[ExampleSets, StoredExamples]) -> None:
    _, examples = stores
    ready = replace(FRESH, part="p1")
    await examples.put(FRESH, EXAMPLES, part="p1")
    await examples.put(FRESH, [], part="p1")
    await examples.put(FRESH, [example(9, "late", principals=("staff",))], part="p0")

    assert sorted(await examples.get(ready, ["e1", "e3", "e9"]), key=lambda each: each.id) == [EXAMPLES[0], EXAMPLES[2]]
    assert await examples.get(ready, []) == []
    assert await examples.get(replace(ready, project="globex"), ["e1"]) == []
    assert await examples.others(ready, part="p1", limit=10) == ["e9"]
    await examples.remove("acme", FRESH.id, ["e9", "e1"])
    assert [each.id for each in await examples.by_chance(ready, principals=frozenset(), start=0, limit=10)] == _ordered(
        EXAMPLES[1:]
    )


async def test_places_by_chance_begin_anew_after_the_last(stores: tuple[ExampleSets, StoredExamples]) -> None:
    _, examples = stores
    ready, some = replace(FRESH, part="p1"), [example(number, "?") for number in range(6)]
    await examples.put(FRESH, some, part="p1")
    ordered = _ordered(some)
    last = max(each.order for each in some)

    assert [each.id for each in await examples.by_chance(ready, principals=frozenset(), start=last, limit=3)] == [
        ordered[-1],
        *ordered[:2],
    ]
    assert [each.id for each in await examples.by_chance(ready, principals=frozenset(), start=last, limit=9)] == [
        ordered[-1],
        *ordered[:-1],
    ]


async def test_by_chance_a_reader_sees_what_is_for_all_or_for_groups_that_the_reader_has(
    stores: tuple[ExampleSets, StoredExamples],
) -> None:
    _, examples = stores
    groups = ((), ("staff",), ("staff", "board"), ("hr",))
    some = [example(number, "?", principals=each) for number, each in enumerate(groups)]
    await examples.put(FRESH, some, part="p1")

    async def seen(*principals: str) -> list[str]:
        ready = replace(FRESH, part="p1")
        return sorted(
            each.id for each in await examples.by_chance(ready, principals=frozenset(principals), start=0, limit=9)
        )

    assert await seen() == ["e0"]
    assert await seen("staff") == ["e0", "e1"]
    assert await seen("board", "staff", "other") == ["e0", "e1", "e2"]


async def test_vectors_are_due_until_they_are_made_and_again_when_they_end(
    stores: tuple[ExampleSets, StoredExamples],
) -> None:
    _, examples = stores
    await examples.put(FRESH, EXAMPLES, part="p1")

    assert len(await examples.without_vector(FRESH, now=NOON, limit=2)) == 2
    for each in ("e1", "e2", "e3"):
        assert await examples.embedded(FRESH, each, renew_at=NOON + timedelta(days=1))
    await examples.put(FRESH, EXAMPLES, part="p2")
    assert await examples.without_vector(FRESH, now=NOON, limit=9) == []
    assert len(await examples.without_vector(FRESH, now=NOON + timedelta(days=1), limit=9)) == 3
    assert not await examples.embedded(FRESH, "gone", renew_at=NOON)


async def test_examples_are_found_by_their_people_and_documents(stores: tuple[ExampleSets, StoredExamples]) -> None:
    _, examples = stores
    await examples.put(FRESH, EXAMPLES, part="p1")

    assert [each.example for each in await examples.of_end_user("acme", "cleo", limit=9)] == ["e3"]
    assert len(await examples.of_end_user("acme", "bob", limit=9)) == 3
    assert len(await examples.of_end_user("acme", "bob", limit=2)) == 2
    assert [each.set_id for each in await examples.of_document("acme", "d1", limit=9)] == [FRESH.id]
    assert await examples.of_end_user("globex", "bob", limit=9) == []
    assert await examples.of_end_user("acme", "", limit=9) == []


async def test_sets_are_pending_once_they_are_to_be_checked(stack: Addresses) -> None:
    client, name = connect(stack.mongo, timeout_s=10), unique_name("examples")
    sets, pending = MongoExampleSets(client[name]["sets"]), pending_sets(client[name]["sets"])
    await pending.ensure_indexes()
    await sets.add(FRESH)
    await sets.add(replace(FRESH, id="later", check_at=NOON + timedelta(days=36500)))

    assert [each.id for each in (await pending("", without=frozenset())).items] == [FRESH.id]
    await client.drop_database(name)
    client.close()


@dataclass
class Outside:
    """ingest and rag as small servers, with a bucket."""

    similar: StubSimilarTexts
    vectors: RagQuestionVectors
    datasets: StubDatasets
    versions: IngestVersions
    bucket: ExchangeBucket


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    server, similar = grpc.aio.server(), StubSimilarTexts("minilm@1")
    datasets = StubDatasets()  # type: ignore[abstract] # it has what inference calls
    add_SimilarTextServiceServicer_to_server(similar, server)
    add_DatasetServiceServicer_to_server(datasets, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    bucket = ExchangeBucket(InMemoryObjects(BUCKET), BUCKET)
    async with admin_channel(f"127.0.0.1:{port}", name="rag", project=ADA.project) as channel:
        yield Outside(
            similar=similar,
            vectors=RagQuestionVectors(channel, timeout_s=5),
            datasets=datasets,
            versions=IngestVersions(channel, bucket, timeout_s=5, max_characters=200),
            bucket=bucket,
        )
    await server.stop(None)


async def test_questions_are_put_found_and_removed_within_their_set(outside: Outside) -> None:
    vectors, other = outside.vectors, ExampleSet.of("acme", replace(DECLARED, dataset="helpdesk_sft@4"), now=NOON)
    for each in EXAMPLES:
        assert await vectors.put(ADA, FRESH, each, expire_time=NOON) == NOON
    await vectors.put(ADA, other, EXAMPLES[0], expire_time=NOON)

    found = await vectors.nearest(ADA, FRESH, question=EXAMPLES[0].question, min_similarity=0.5, limit=9)

    assert [FRESH.example_of(each.text_id) for each in found] == ["e1", "e2"]
    assert found[0].similarity == 1.0
    assert {each.end_user for each in outside.similar.kept.values()} == {"bob", "cleo"}
    await vectors.remove(ADA, [each.text_id for each in found])
    assert len(outside.similar.kept) == 2


async def test_a_model_that_is_not_there_is_refused_by_its_field(outside: Outside) -> None:
    await outside.vectors.check(ADA, "minilm@1")

    with pytest.raises(InvalidInput, match=r"examples.embedding: is absent: there is no model absent"):
        await outside.vectors.check(ADA, "absent")


async def test_the_train_part_is_read_without_what_cannot_stand_before_any_question(outside: Outside) -> None:
    good = _said("e1", "What is sep?", "A separator.", asked_by="cleo", principals=["staff"])
    good.passages.add(document="d1", version=2)
    good.passages.add(document="d1", version=2, start=9)
    disliked, within, long, empty = (_said(f"e{number}", "What?", "That.") for number in range(2, 6))
    disliked.label = False
    within.earlier.add(role=content_pb2.ROLE_USER)
    long.question = "why? " * 50
    empty.output.Clear()
    await _publish(outside, [good, disliked, within, long, empty])

    part = await outside.versions.train_part(ADA, "helpdesk_sft@3")

    assert (part.version, part.examples, part.missing_approvals) == ("helpdesk_sft@3", 5, 1)
    assert list(await outside.versions.read(part)) == [
        Example(
            id="e1",
            question="What is sep?",
            answer="A separator.",
            author="bob",
            asked_by="cleo",
            documents=("d1",),
            principals=("staff",),
            observed_at=NOON,
        )
    ]


async def test_a_part_that_is_none_and_a_version_that_is_not_there_are_refused(outside: Outside) -> None:
    content = await outside.bucket.put("acme", "helpdesk_sft", b"{\n", media_type="application/jsonl")
    outside.datasets.add(_version(content, 1))

    with pytest.raises(InvalidInput, match=r"helpdesk_sft@3: line 1 of its train part is no example"):
        await outside.versions.read(await outside.versions.train_part(ADA, "helpdesk_sft"))
    with pytest.raises(NotFound):
        await outside.versions.train_part(ADA, "helpdesk_sft@9")
    with pytest.raises(ServiceNotNamed, match="INFERENCE_INGEST_ADDRESS"):
        await IngestVersions(None, outside.bucket, timeout_s=1, max_characters=9).train_part(ADA, "helpdesk_sft")


async def test_services_that_are_not_there_are_an_outage() -> None:
    bucket = ExchangeBucket(InMemoryObjects(BUCKET), BUCKET)
    async with admin_channel("127.0.0.1:1", name="rag", project=ADA.project, timeout_s=1) as channel:
        with pytest.raises(DependencyUnavailable):
            await RagQuestionVectors(channel, timeout_s=1).check(ADA, "minilm@1")
        with pytest.raises(DependencyUnavailable):
            await IngestVersions(channel, bucket, timeout_s=1, max_characters=9).train_part(ADA, "helpdesk_sft")


def _said(name: str, question: str, answer: str, **changes: object) -> curation_pb2.Example:
    message = curation_pb2.Example(id=name, question=question, end_user="bob", **changes)  # type: ignore[arg-type]
    message.output.role = content_pb2.ROLE_ASSISTANT
    message.output.parts.add(text=answer)
    message.observe_time.FromDatetime(NOON)
    return message


async def _publish(outside: Outside, examples: list[curation_pb2.Example]) -> None:
    lines = "".join(f"{MessageToJson(each, indent=None)}\n" for each in examples).encode()
    content = await outside.bucket.put("acme", "helpdesk_sft", lines, media_type="application/jsonl")
    outside.datasets.add(_version(content, len(examples)))


def _version(content, examples: int) -> dataset_pb2.DatasetVersion:  # type: ignore[no-untyped-def] # noqa: ANN001
    part = dataset_pb2.DatasetPart(
        bucket=content.bucket, key=content.key, size=content.size, sha256=content.sha256, examples=examples
    )
    return dataset_pb2.DatasetVersion(id="helpdesk_sft@3", project="acme", train=part, missing_approvals=1)


def _ordered(some) -> list[str]:  # type: ignore[no-untyped-def] # noqa: ANN001
    return [each.id for each in sorted(some, key=lambda each: each.order)]
