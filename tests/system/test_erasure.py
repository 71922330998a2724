"""An end user, a document and a project are erased in inference and feedback: nothing of them is left in their stores.

Both run for real, on MongoDB, Kafka and S3, with a killed process in the middle.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.feedback.tests.inference_server import InferenceServer
from services.feedback.tests.process.harness import FeedbackProcess
from services.inference.tests.process.harness import CONTENT, Harness, asked, deployment, running_inference
from services.inference.tests.process.stub_services import PASSAGES
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2, feedback_pb2
from tidemill.feedback.v1.curation_service_pb2 import CreateCurationRequest
from tidemill.feedback.v1.curation_service_pb2_grpc import CurationServiceStub
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill.inference.v1 import deployment_service_pb2, inference_pb2, prompt_pb2, prompt_service_pb2
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.erasing import erasing_settings, request_erasure
from tidemill_testkit.erasure import OF_THE_KIT
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import NewTopicFactory

VICTIM, OTHER = "victim-7f3a", "other-5c1e"
CANARY, KEPT = "CANARY-9e41", "KEPT-2b77"


class RunningInference(InferenceServer):
    """Stands in the place of the stub for the real one."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    @property
    def address(self) -> str:
        return self._address


class ErasedFeedback(FeedbackProcess):
    """Erases soon."""

    def _settings(self) -> dict[str, str]:
        return super()._settings() | erasing_settings()


@dataclass(kw_only=True)
class Both:
    """inference and feedback, and what they store."""

    inference: Harness
    feedback: FeedbackProcess
    databases: tuple[Database, Database]
    objects: ObjectStore

    @property
    def project(self) -> str:
        return self.inference.project

    async def ask(self, text: str, *, end_user: str) -> inference_pb2.Inference:
        request = asked(text, end_user=end_user, labels={"page": text}, request_id=str(uuid.uuid4()))
        return (await self.inference.inferences.Generate(request)).inference

    async def react(self, inference: str, *, end_user: str, rater: str = "user", **value: str | float) -> None:
        correction = value.pop("correction", "")
        feedback = feedback_pb2.Feedback(inference=inference, end_user=end_user, rater=rater, **value)  # type: ignore[arg-type] # of a value's kind
        if correction:
            part = content_pb2.Part(text=str(correction))
            feedback.correction.output.add(role=content_pb2.ROLE_ASSISTANT, parts=[part])
        async with admin_channel(f"127.0.0.1:{self.feedback.port}", project=self.project) as channel:
            await FeedbackServiceStub(channel).SubmitFeedback(SubmitFeedbackRequest(feedback=feedback))

    async def hits(self, *words: str) -> dict[str, int]:
        """Return in how many documents and objects of which place one of the words is."""
        found = dict[str, int]()
        for database in self.databases:
            for name in await database.list_collection_names():
                texts = [str(document) async for document in database[name].find({})]
                found[f"{database.name}.{name}"] = sum(any(word in text for word in words) for text in texts)
        for each in await self.objects.list(self.feedback.bucket):
            data = (await self.objects.get(self.feedback.bucket, each.key)).decode()
            found[each.key] = any(word in data for word in words)
        return {place: count for place, count in found.items() if count}

    async def erase(self, scope: Scope, subject: str = "", *, killing: bool = False) -> None:
        """Request an erasure as monitor does, and return when both have carried it out."""
        erasure = await request_erasure(self.inference.stack, self.project, scope, subject)
        if killing:
            self.feedback.kill()
            await asyncio.to_thread(self.feedback.start)

        async def completed() -> bool:
            rows = [await each["erasures"].find_one({"_id": f"{self.project}/{erasure}"}) for each in self.databases]
            return all(row is not None and row["state"]["state"] == "COMPLETED" for row in rows)

        await eventually(completed, within_s=240)


@pytest.fixture
async def both(stack: Addresses, tmp_path: Path, new_topic: NewTopicFactory) -> AsyncIterator[Both]:
    soon = {"erasure_recheck_s": 1.0, "erasure_poll_interval_s": 0.5}
    client = connect(stack.mongo, timeout_s=10)
    async with running_inference(stack, tmp_path, changes=soon) as inference:
        feedback = ErasedFeedback(
            stack=stack, folder=tmp_path, topic=await new_topic(), inference=RunningInference(inference.grpc_address)
        )
        await asyncio.to_thread(feedback.start)
        await declare(inference, feedback)
        databases = (client[inference.settings.mongo_database], client[feedback.database])
        yield Both(inference=inference, feedback=feedback, databases=databases, objects=inference.store)
        assert await asyncio.to_thread(feedback.stop) == 0
    await remove_bucket(stack, feedback.bucket)
    for each in databases:
        await client.drop_database(each.name)
    client.close()


async def declare(inference: Harness, feedback: FeedbackProcess) -> None:
    await inference.prompts.CreatePrompt(
        prompt_service_pb2.CreatePromptRequest(prompt=prompt_pb2.Prompt(id="answer", content=CONTENT))
    )
    await inference.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(deployment=deployment())
    )
    curation = curation_pb2.Curation(
        id="sft", dataset="helpdesk_sft", deployment="helpdesk", feedback=["correction"], new_examples=3
    )
    async with admin_channel(f"127.0.0.1:{feedback.port}", project=inference.project) as channel:
        await CurationServiceStub(channel).CreateCuration(CreateCurationRequest(curation=curation))


async def test_nothing_of_an_erased_end_user_or_document_and_then_of_a_deleted_project_is_left(both: Both) -> None:
    theirs = await both.ask(f"{CANARY} How do I walk?", end_user=VICTIM)
    reviewed = await both.ask(f"{CANARY} And what is it made of?", end_user=VICTIM)
    others = await both.ask(f"{KEPT} How do I write?", end_user=OTHER)
    await both.react(theirs.id, end_user=VICTIM, metric="rating", number=1.0)
    await both.react(theirs.id, end_user=VICTIM, metric="comment", comment=f"{CANARY} is good")
    await both.react(theirs.id, end_user=VICTIM, metric="correction", correction=f"{CANARY} with os.walk")
    await both.react(reviewed.id, end_user="rita", rater="reviewer", metric="correction", correction="Of bytes.")
    await both.react(others.id, end_user=OTHER, metric="correction", correction=f"{KEPT} with json.dumps")
    places = ["inferences", "feedback", "prompts", "/sft/"]
    await eventually(lambda: _in(both, places))

    await both.erase(Scope.END_USER, VICTIM, killing=True)

    left = await both.hits(CANARY, VICTIM, reviewed.id)
    records = f"{both.databases[0].name}.inferences"
    tombstones = f"{both.databases[1].name}.feedback"
    assert await both.hits(CANARY) == {}
    assert {place for place in left if place.rpartition(".")[2] not in OF_THE_KIT} <= {records, tombstones}
    assert await both.hits(VICTIM) == {}
    kept = await both.hits(KEPT)
    assert all(any(place.endswith(f".{name}") for place in kept) for name in ("inferences", "feedback", "prompts"))

    shown = f"{both.databases[1].name}.prompts"
    assert shown in await both.hits(PASSAGES[0])
    await both.erase(Scope.DOCUMENT, "d1")
    assert await both.hits(PASSAGES[0]) == {}

    await both.erase(Scope.PROJECT)

    of_project = await both.hits(both.project)
    assert {place.rpartition(".")[2] for place in of_project} <= OF_THE_KIT
    assert await both.hits(KEPT, OTHER) == {}
    assert not list(both.inference.data.glob(f"{both.project}*"))


async def _in(both: Both, places: list[str]) -> bool:
    """Return whether the canary has come to all of these places."""
    found = await both.hits(CANARY)
    return all(any(name in place for place in found) for name in places)
