"""A deleted project and an erased user leave nothing, wherever the process is killed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.evaluator.tests.process.evaluator_process import EvaluatorProcess
from services.evaluator.tests.process.stub_services import StubServices, stub_services
from services.evaluator.tests.process.test_process import Harness
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.erasing import (
    collections_with,
    counts_of,
    erasing_settings,
    keys_of,
    reports_of,
    request_erasure,
)
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name


class ErasingEvaluator(EvaluatorProcess):
    """Erases without waiting for long."""

    def _settings(self) -> dict[str, str]:
        return super()._settings() | erasing_settings()


@pytest.fixture
async def stubs() -> AsyncIterator[StubServices]:
    async with stub_services() as stubs:
        yield stubs


@pytest.fixture
async def process(stubs: StubServices, stack: Addresses, tmp_path: Path) -> AsyncIterator[EvaluatorProcess]:
    process = ErasingEvaluator(stack=stack, folder=tmp_path, stub_services=stubs.address)
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.stop)
    for bucket in (process.bucket, process.datasets):
        await remove_bucket(stack, bucket)


@pytest.fixture
async def database(process: EvaluatorProcess, stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    yield client[process.database]
    await client.drop_database(process.database)
    client.close()


def _store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


async def _filled(process: EvaluatorProcess, stack: Addresses, stubs: StubServices, name: str) -> Harness:
    """Return a project with a suite, a gate, and an evaluation of both sides."""
    harness = Harness(stack=stack, process=process, stub_services=stubs, project=unique_name(name))
    await harness.declare()
    await harness.hold_out()
    await harness.register()
    return harness


async def test_a_deleted_project_leaves_nothing_although_the_process_is_killed_in_between(
    process: EvaluatorProcess, stack: Addresses, stubs: StubServices, database: Database
) -> None:
    other = await _filled(process, stack, stubs, "globex")
    await eventually(lambda: _is_done(other))
    stubs.inference.stalls_after = len(stubs.inference.asked) + 3
    ours = await _filled(process, stack, stubs, "acme")
    await eventually(lambda: len(stubs.inference.asked) >= stubs.inference.stalls_after)

    erasure = await request_erasure(stack, ours.project, Scope.PROJECT)
    await eventually(lambda: _is_cancelled(database, ours.project))  # and its worker waits for an answer
    row = await database["erasures"].find_one({"_id": f"{ours.project}/{erasure}"}) or {}
    assert [each["kind"] for each in row["state"]["counts"]] == ["gates", "judged answers", "judges"]
    await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
    await eventually(lambda: reports_of("evaluator", stack, ours.project))

    (report,) = await reports_of("evaluator", stack, ours.project)
    counts = counts_of(report)
    assert (counts["gates"], counts["suites"]) == (1, 1)
    assert await collections_with(database, f'"{ours.project}') == set()
    assert await keys_of(_store(stack), process.bucket, ours.project) == []
    assert await collections_with(database, f'"{other.project}') >= {"suites", "gates", "evaluations", "case_results"}
    assert len(await keys_of(_store(stack), process.bucket, other.project)) == 1
    assert [each.state for each in await other.evaluations()] == [pb.EVALUATION_STATE_COMPLETED]


async def test_what_an_erased_user_asked_is_in_no_result_and_the_verdict_stays(
    process: EvaluatorProcess, stack: Addresses, stubs: StubServices, database: Database
) -> None:
    ours = await _filled(process, stack, stubs, "acme")
    await eventually(lambda: _is_done(ours))
    assert await database["case_results"].count_documents({"project": ours.project, "end_user": "ada"}) == 6

    await request_erasure(stack, ours.project, Scope.END_USER, "ada")
    await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
    await eventually(lambda: reports_of("evaluator", stack, ours.project))

    (report,) = await reports_of("evaluator", stack, ours.project)
    counts = counts_of(report)
    assert (counts["evaluations that were ended"], counts["judged answers"]) == (0, 0)
    assert counts["case results"] in {0, 6}  # 0 where the process was killed before it had recorded the batch
    assert "held out" not in str(await database["case_results"].find({}).to_list(None))
    assert await collections_with(database, '"ada"') == set()
    (evaluation,) = await ours.evaluations()
    assert evaluation.verdict == pb.VERDICT_PASSED
    assert await database["case_results"].count_documents({"project": ours.project}) == 8


async def _is_done(harness: Harness) -> bool:
    return await harness.states() == [pb.EVALUATION_STATE_COMPLETED]


async def _is_cancelled(database: Database, project: str) -> bool:
    found = await database["evaluations"].find_one({"project": project})
    return found is not None and found["state"]["state"] == "cancelled"
