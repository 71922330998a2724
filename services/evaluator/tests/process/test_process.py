"""End to end through the public API: a real process, real servers and stub services."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import cases, example
from services.evaluator.tests.process.evaluator_process import EvaluatorProcess
from services.evaluator.tests.process.stub_services import TUNED, StubServices, stub_services
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill.evaluator.v1 import evaluation_service_pb2 as rpc
from tidemill.evaluator.v1 import (
    judge_pb2,
    judge_service_pb2,
    prompt_test_pb2,
    prompt_test_service_pb2,
    suite_pb2,
    suite_service_pb2,
)
from tidemill.evaluator.v1 import retrieval_evaluation_service_pb2 as retrieval_rpc
from tidemill.evaluator.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceStub
from tidemill.evaluator.v1.prompt_test_service_pb2_grpc import PromptTestServiceStub
from tidemill.evaluator.v1.retrieval_evaluation_service_pb2_grpc import RetrievalEvaluationServiceStub
from tidemill.evaluator.v1.suite_service_pb2_grpc import SuiteServiceStub
from tidemill.ingest.v1 import dataset_pb2
from tidemill_kit.events.cloudevents import CloudEvent, from_record, to_headers
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

ASKED = ("judge:tone", "embedding_similarity:collection:handbook")
REGISTERED = "tidemill.trainer.model.version_registered.v1"


@dataclass(kw_only=True)
class Harness:
    """An evaluator process with its dependencies and a gate of one suite and one held-out split."""

    stack: Addresses
    process: EvaluatorProcess
    stub_services: StubServices
    project: str

    async def declare(self) -> None:
        suite = suite_pb2.Suite(id="truth")
        for case in cases(8):
            suite.cases.add(id=case.id, question=case.question, reference=case.reference)
            self.stub_services.inference.says[case.question] = case.reference
        require = [
            pb.Requirement(dataset="sft", metric="rouge_l", gain_above=-0.5, at_least=4),
            pb.Requirement(suite="truth", metric="rouge_l", gain_above=-0.5),
            pb.Requirement(suite="truth", metric="chrf", gain_above=-0.5),  # by a library, in a process of its own
        ]
        gate = pb.Gate(id="gate", deployment="helpdesk", candidate="lora", cluster_by=["question"], require=require)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            await SuiteServiceStub(channel).CreateSuite(suite_service_pb2.CreateSuiteRequest(suite=suite))
            await EvaluationServiceStub(channel).CreateGate(rpc.CreateGateRequest(gate=gate))

    async def hold_out(self) -> None:
        """Store a held-out split in ingest's format."""
        store = ObjectStore(self.stack.s3.endpoint, self.stack.s3.access_key, self.stack.s3.secret_key, secure=False)
        await store.ensure_bucket(self.process.datasets)
        asked = cases(6, prefix="held out: ")
        self.stub_services.inference.says |= {case.question: case.reference for case in asked}
        data = "\n".join(MessageToJson(example(case), indent=None) for case in asked).encode()
        ref = await ExchangeBucket(store, self.process.datasets).put(
            self.project, "sft", data, media_type="application/jsonl"
        )
        part = dataset_pb2.DatasetPart(bucket=ref.bucket, key=ref.key, size=ref.size, sha256=ref.sha256, examples=6)
        self.stub_services.datasets.add(dataset_pb2.DatasetVersion(id="sft@2", held_out=part), project=self.project)

    async def register(self) -> None:
        """Publish trainer's events."""
        body = {"version": TUNED, "seq": "1", "model": "lora", "base": "smollm2@1", "dataset_version": "sft@2"}
        data = json.dumps(body).encode()
        event = CloudEvent(
            id=f"{self.project}-1",
            source="/tidemill/trainer",
            type=REGISTERED,
            subject=TUNED,
            project=self.project,
            time=NOON,
            data=data,
            content_type="application/json",
            seq=1,
            traceparent="",
            extensions={},
        )
        publisher = Publisher(self.stack.kafka)
        await publisher.start()
        key = f"{self.project}/{TUNED}".encode()
        await publisher.publish(
            OutgoingRecord(topic="tidemill.trainer.model.v1", key=key, value=data, headers=to_headers(event))
        )
        await publisher.stop()

    async def evaluations(self) -> list[pb.Evaluation]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            reply = await EvaluationServiceStub(channel).ListEvaluations(rpc.ListEvaluationsRequest())
        return list(reply.evaluations)

    async def states(self) -> list[int]:
        return [each.state for each in await self.evaluations()]

    async def worst(self, evaluation: str) -> list[pb.CaseResult]:
        request = rpc.ListCaseResultsRequest(evaluation=evaluation, page_size=3)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            return list((await EvaluationServiceStub(channel).ListCaseResults(request)).results)

    async def measure(self) -> str:
        """Start a retrieval evaluation of one judged question, and return its id."""
        judgements = [suite_pb2.Judgement(document="doc", grade=1)]
        suite = suite_pb2.Suite(id="questions")
        suite.cases.add(id="q1", question="where is it?", judgements=judgements)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            await SuiteServiceStub(channel).CreateSuite(suite_service_pb2.CreateSuiteRequest(suite=suite))
            request = retrieval_rpc.StartRetrievalEvaluationRequest(suite="questions", collection="handbook")
            started = await RetrievalEvaluationServiceStub(channel).StartRetrievalEvaluation(request)
        return started.evaluation.id

    async def measured(self, evaluation: str) -> list[float]:
        """Return the figures of a retrieval evaluation, none before it has ended."""
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            request = retrieval_rpc.GetRetrievalEvaluationRequest(id=evaluation)
            found = (await RetrievalEvaluationServiceStub(channel).GetRetrievalEvaluation(request)).evaluation
        return [each.baseline for each in found.measures if each.metric != "latency_ms"]

    async def compare(self) -> str:
        """Start a prompt test of the live configuration, another model and an unsaved prompt, and return its id."""
        draft = prompt_test_pb2.PromptText(user="{{ question }}")
        variants = [
            prompt_test_pb2.PromptVariant(deployment="helpdesk"),
            prompt_test_pb2.PromptVariant(deployment="helpdesk", model=TUNED),
            prompt_test_pb2.PromptVariant(
                deployment="helpdesk", unsaved=draft, sampling=prompt_test_pb2.VariantSampling(temperature=0.5)
            ),
        ]
        request = prompt_test_service_pb2.StartPromptTestRequest(suite="truth", variants=variants)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            return (await PromptTestServiceStub(channel).StartPromptTest(request)).test.id

    async def compared(self, test: str) -> list[float]:
        """Return the means of the variants of a prompt test, none before it has ended."""
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            request = prompt_test_service_pb2.GetPromptTestRequest(id=test)
            found = (await PromptTestServiceStub(channel).GetPromptTest(request)).test
        return [each.mean for figures in found.figures for each in figures.measures if each.metric == "rouge_l"]

    async def judge(self) -> str:
        """Declare a judge, start an evaluation by hand that it and an embedding model score, and return its id."""
        judge = judge_pb2.Judge(id="tone", deployment="grader", rubric="Is it a number?")
        request = rpc.StartEvaluationRequest(
            deployment="helpdesk", suites=["truth"], candidate=TUNED, metrics=list(ASKED)
        )
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            await JudgeServiceStub(channel).CreateJudge(judge_service_pb2.CreateJudgeRequest(judge=judge))
            return (await EvaluationServiceStub(channel).StartEvaluation(request)).evaluation.id

    async def judged(self, evaluation: str) -> list[tuple[float, float]]:
        """Return the means of both sides by `ASKED`, none before the evaluation has ended."""
        (found,) = [each for each in await self.evaluations() if each.id == evaluation]
        return [(each.baseline, each.candidate) for each in found.comparisons if each.metric in ASKED]

    async def published(self) -> list[CloudEvent]:
        records = [record async for record in read_topic(self.stack.kafka, "tidemill.evaluator.evaluation.v1")]
        ours = [record for record in records if (record.key or b"").startswith(f"{self.project}/".encode())]
        events = [from_record(record.value, record.headers, arrive_time=NOON) for record in ours]
        return list({event.id: event for event in events}.values())  # a kill may have one come again, under its id

    async def is_completed(self) -> bool:
        return await self.states() == [pb.EVALUATION_STATE_COMPLETED]

    async def has_published(self, count: int) -> bool:
        return len(await self.published()) == count


@pytest.fixture
async def harness(stack: Addresses, tmp_path: Path) -> AsyncIterator[Harness]:
    async with stub_services() as played:
        process = EvaluatorProcess(stack=stack, folder=tmp_path, stub_services=played.address)
        harness = Harness(stack=stack, process=process, stub_services=played, project=unique_name("acme"))
        await harness.hold_out()
        await asyncio.to_thread(process.start)
        yield harness
        await asyncio.to_thread(process.stop)
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()
    await remove_bucket(stack, process.bucket)
    await remove_bucket(stack, process.datasets)


@dataclass(frozen=True)
class Evaluations:
    """Evaluations that a pipeline starts."""

    process: EvaluatorProcess
    project: str
    topics: Sequence[str] = ("tidemill.evaluator.evaluation.v1",)
    started: dict[str, str] = field(default_factory=dict)

    async def send(self, piece: str) -> None:
        request = rpc.StartEvaluationRequest(deployment="helpdesk", suites=["truth"], candidate=TUNED, request_id=piece)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            evaluation = (await EvaluationServiceStub(channel).StartEvaluation(request)).evaluation
        self.started[evaluation.id] = piece

    async def done(self) -> Sequence[str]:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            listed = await EvaluationServiceStub(channel).ListEvaluations(rpc.ListEvaluationsRequest())
        completed = [each.id for each in listed.evaluations if each.state == pb.EVALUATION_STATE_COMPLETED]
        return [self.started.get(each, each) for each in completed]


async def test_each_evaluation_ends_once_whenever_the_process_is_killed(harness: Harness) -> None:
    await harness.declare()
    await outlives_a_kill(Evaluations(harness.process, harness.project))


async def test_a_registered_candidate_comes_to_a_verdict_by_itself_also_over_a_kill(harness: Harness) -> None:
    await harness.declare()
    harness.stub_services.inference.unavailable = 2
    harness.stub_services.inference.stalls_after = 12
    await harness.register()
    await eventually(lambda: len(harness.stub_services.inference.asked) == 12)
    await asyncio.to_thread(harness.process.kill)
    harness.stub_services.inference.stalls_after = 10**9
    harness.stub_services.inference.going_on.set()

    await asyncio.to_thread(harness.process.start)
    await harness.register()  # once more, as after a crash before the commit
    await eventually(harness.is_completed)

    (done,) = await harness.evaluations()
    assert (done.verdict, done.answered, done.cases) == (pb.VERDICT_PASSED, 14, 14)
    assert (done.baseline, done.baseline_configuration, done.dataset_version) == ("smollm2@1", "d1", "sft@2")
    assert [(each.cases, each.candidate, each.holds) for each in done.comparisons[:2]] == [
        (6, 1.0, True),
        (8, 1.0, True),
    ]
    assert done.comparisons[0].low > -0.5
    assert harness.stub_services.inference.projects == {harness.project}
    asked = Counter(request.request_id for request in harness.stub_services.inference.asked)
    assert max(asked.values()) == 1
    given = [request for request in harness.stub_services.inference.asked if request.variant]
    assert all([each.text for each in request.passages] == ["text"] for request in given)
    await eventually(lambda: harness.has_published(2))
    events = await harness.published()
    assert [(event.seq, event.subject) for event in events] == [(1, done.id), (2, done.id)]
    assert json.loads(events[1].data)["verdict"] == "VERDICT_PASSED"
    assert b"number" not in events[0].data + events[1].data  # no text of cases or answers
    assert len(await harness.worst(done.id)) == 3
    measuring = await harness.measure()
    await eventually(lambda: harness.measured(measuring))
    assert await harness.measured(measuring) == [1.0] * 4
    comparing = await harness.compare()
    await eventually(lambda: harness.compared(comparing))
    assert await harness.compared(comparing) == [0.0, 1.0, 0.0]
    drafted = [each for each in harness.stub_services.inference.asked if each.HasField("unsaved_prompt")]
    assert [(each.unsaved_prompt.user, each.sampling.temperature) for each in drafted] == [("{{ question }}", 0.5)] * 8
    judging = await harness.judge()
    await eventually(lambda: harness.judged(judging))
    assert await harness.judged(judging) == [(0.0, 0.75), (0.0, pytest.approx(1.0))]
    assert await asyncio.to_thread(harness.process.stop) == 0
