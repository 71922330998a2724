"""inference through its public APIs only, on real servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToJson

from services.inference.tests.process.harness import CONTENT, Harness, asked, deployment, running_inference
from services.inference.tests.process.stub_services import PASSAGES
from services.inference.tests.tiny_model import write_tiny_adapter, write_tiny_model
from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_service_pb2,
    examples_pb2,
    inference_pb2,
    inference_service_pb2,
    prompt_pb2,
    prompt_service_pb2,
)
from tidemill.ingest.v1 import dataset_pb2
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, RequestIdReused
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_local import Addresses
from tidemill_testkit.access import admin_token
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    async with running_inference(stack, tmp_path_factory.mktemp("inference")) as running:
        await running.prompts.CreatePrompt(
            prompt_service_pb2.CreatePromptRequest(prompt=prompt_pb2.Prompt(id="answer", content=CONTENT))
        )
        await running.deployments.CreateDeployment(
            deployment_service_pb2.CreateDeploymentRequest(deployment=deployment())
        )
        yield running


async def generate(harness: Harness, request: inference_service_pb2.GenerateRequest) -> inference_pb2.Inference:
    return (await harness.inferences.Generate(request)).inference


async def streamed(
    harness: Harness, request: inference_service_pb2.GenerateRequest
) -> list[inference_service_pb2.GenerateStreamResponse]:
    return [
        response
        async for response in harness.inferences.GenerateStream(
            inference_service_pb2.GenerateStreamRequest(request=request)
        )
    ]


async def test_an_adapter_answers_beside_its_base_on_the_same_passages_and_what_it_saw_can_be_shown(
    harness: Harness, tmp_path: Path
) -> None:
    adapter = await asyncio.to_thread(write_tiny_adapter, tmp_path / "adapter", harness.data.parent / "tiny")
    await harness.add_model("tuned", adapter, base="tiny@1")
    live = await generate(harness, asked())

    request = asked(purpose=inference_pb2.PURPOSE_EVALUATION, variant="tuned@1", passages=live.passages)
    answers = [await generate(harness, each) for each in (request, asked())]

    assert [answer.variant.model for answer in answers] == ["tuned@1", "tiny@1"]
    assert "peft" in answers[0].variant.engine
    assert answers[0].output != live.output
    assert answers[1].output == live.output
    shown = [
        await harness.inferences.GetInferencePrompt(inference_service_pb2.GetInferencePromptRequest(id=each.id))
        for each in (live, answers[0])
    ]
    assert shown[0].messages == shown[1].messages
    assert [message.parts[0].text for message in shown[0].messages] == [
        "Answer from the passages.",
        f"[1] {PASSAGES[0]}\n[2] {PASSAGES[1]}\nWhat does os.walk do?",
    ]
    assert shown[0].question == "What does os.walk do?"


async def test_examples_are_loaded_and_stand_before_a_question(harness: Harness) -> None:
    declared = examples_pb2.Examples(dataset="sft@latest", embedding="tiny", count=1)
    harness.datasets.add(await train_part(harness, {"q1": "What does os.walk do?", "q2": "Who leads the archive?"}))
    await harness.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("shown", examples=declared))
    )

    async def ready() -> bool:
        return not (await generate(harness, asked(deployment="shown"))).warnings

    await eventually(ready)
    plain, shown = [await generate(harness, asked(deployment=name)) for name in ("helpdesk", "shown")]

    assert (shown.examples.dataset, [each.id for each in shown.examples.examples]) == ("sft@7", ["q1"])
    assert shown.usage.input_tokens > plain.usage.input_tokens
    stored = (await harness.inferences.GetInference(inference_service_pb2.GetInferenceRequest(id=shown.id))).inference
    assert stored.examples == shown.examples
    prompts = [
        await harness.inferences.GetInferencePrompt(inference_service_pb2.GetInferencePromptRequest(id=each.id))
        for each in (plain, shown)
    ]
    assert prompts[0].messages == prompts[1].messages


async def train_part(harness: Harness, questions: Mapping[str, str]) -> dataset_pb2.DatasetVersion:
    """Return a dataset version whose train part has these questions by id."""
    said = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.Part(text="It walks a tree.")])
    examples = [curation_pb2.Example(id=name, question=text, output=said) for name, text in questions.items()]
    lines = "".join(f"{MessageToJson(each, indent=None)}\n" for each in examples).encode()
    bucket = harness.settings.dataset_bucket
    await harness.store.ensure_bucket(bucket)
    part = await ExchangeBucket(harness.store, bucket).put(
        harness.project, "sft", lines, media_type="application/jsonl"
    )
    train = dataset_pb2.DatasetPart(
        bucket=part.bucket, key=part.key, size=part.size, sha256=part.sha256, examples=len(examples)
    )
    return dataset_pb2.DatasetVersion(id="sft@7", train=train)


async def test_a_real_engine_answers_and_the_record_can_be_read(harness: Harness) -> None:
    answer = await generate(harness, asked(end_user="u1", labels={"product": "vpn"}))

    assert answer.state == inference_pb2.INFERENCE_STATE_COMPLETED
    assert answer.output[0].parts[0].text
    assert (answer.variant.model, answer.variant.prompt, answer.variant.index) == ("tiny@1", "answer@1", 2)
    assert answer.variant.engine.startswith("transformers 5")
    assert answer.usage.output_tokens == 24
    assert [passage.text for passage in answer.passages] == list(PASSAGES)
    assert harness.project in {project for project, _ in harness.rag.searches}
    stored = (await harness.inferences.GetInference(inference_service_pb2.GetInferenceRequest(id=answer.id))).inference
    assert stored.output == answer.output
    assert [passage.text for passage in stored.passages] == ["", ""]
    assert [(passage.document, passage.end) for passage in stored.passages] == [("d1", 31), ("d2", 36)]
    assert (stored.end_user, dict(stored.labels)) == ("u1", {"product": "vpn"})


async def test_a_stream_is_numbered_and_its_text_is_that_of_the_end(harness: Harness) -> None:
    responses = await streamed(harness, asked())

    assert [response.sequence for response in responses] == list(range(1, len(responses) + 1))
    assert [response.WhichOneof("event") for response in (responses[0], responses[-1])] == ["started", "finished"]
    text = "".join(response.delta.text for response in responses)
    assert text == responses[-1].finished.output[0].parts[0].text
    assert len(responses) > 3


async def test_a_retry_returns_the_stored_inference_streamed_or_not(harness: Harness) -> None:
    request = asked(request_id=unique_name("r"))

    first, again = await asyncio.gather(generate(harness, request), generate(harness, request))
    later = await streamed(harness, request)

    assert first.id == again.id == later[-1].finished.id
    assert first.output == again.output == later[-1].finished.output
    with pytest.raises(RequestIdReused):
        await generate(harness, asked("Another question?", request_id=request.request_id))


async def test_the_events_of_answers_and_deployments_are_on_kafka_and_carry_no_text(harness: Harness) -> None:
    answer = await generate(harness, asked("What is a kestrel, please?", request_id=unique_name("r")))

    async with asyncio.timeout(30):
        completed = await _event(harness, "tidemill.inference.inference.v1", answer.id)
        configured = await _event(harness, "tidemill.inference.deployment.v1", "helpdesk")

    assert completed["usage"]["output_tokens"] == 24
    assert [use["document"] for use in completed["documents"]] == ["d1", "d2"]
    assert "kestrel" not in json.dumps(completed)
    assert answer.output[0].parts[0].text not in json.dumps(completed)
    assert (configured["model"], configured["prompt"], configured["replaced"]) == ("tiny@1", "answer@1", "")


async def test_inferences_are_listed_by_deployment(harness: Harness) -> None:
    await generate(harness, asked())

    page = await harness.inferences.ListInferences(
        inference_service_pb2.ListInferencesRequest(deployment="helpdesk", page_size=1)
    )
    other = await harness.inferences.ListInferences(inference_service_pb2.ListInferencesRequest(deployment="other"))
    newest = await harness.inferences.ListInferences(
        inference_service_pb2.ListInferencesRequest(filter="deployment = helpdesk", order_by="create_time desc")
    )

    assert [each.deployment for each in page.inferences] == ["helpdesk"]
    assert not other.inferences
    assert newest.inferences[-1] == page.inferences[0]


async def test_the_next_answer_follows_a_changed_deployment(harness: Harness) -> None:
    await harness.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("moving"))
    )
    before = await generate(harness, asked(deployment="moving"))
    await harness.prompts.UpdatePrompt(
        prompt_service_pb2.UpdatePromptRequest(
            prompt=prompt_pb2.Prompt(id="answer", content=prompt_pb2.PromptContent(user="Now: {{ question }}")),
            update_mask=FieldMask(paths=["content"]),
        )
    )
    still = await generate(harness, asked(deployment="moving"))

    await harness.deployments.UpdateDeployment(
        deployment_service_pb2.UpdateDeploymentRequest(
            deployment=deployment("moving"), update_mask=FieldMask(paths=["prompt"])
        )
    )
    after = await generate(harness, asked(deployment="moving"))

    prompts = [each.variant.prompt for each in (before, still, after)]
    assert prompts == ["answer@1", "answer@1", "answer@2"]
    assert before.variant.configuration == still.variant.configuration != after.variant.configuration


async def test_an_update_that_changes_nothing_writes_nothing(harness: Harness) -> None:
    change = deployment_service_pb2.UpdateDeploymentRequest(
        deployment=deployment("steady"),
        update_mask=FieldMask(paths=["labels", "model", "prompt", "retrieval", "sampling", "fallback", "record"]),
    )
    created = (
        await harness.deployments.CreateDeployment(
            deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("steady"))
        )
    ).deployment

    preview = deployment_service_pb2.UpdateDeploymentRequest(validate_only=True)
    preview.MergeFrom(change)
    would_be = (await harness.deployments.UpdateDeployment(preview)).deployment
    updated = (await harness.deployments.UpdateDeployment(change)).deployment

    assert would_be == updated == created


async def test_a_new_deployment_has_its_model_loaded_before_the_first_question(
    harness: Harness, tmp_path: Path
) -> None:
    await harness.add_model("warm", await asyncio.to_thread(write_tiny_model, tmp_path, seed=9))

    await harness.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("warm", model="warm"))
    )

    digest = harness.registry.versions["", "warm@1"].digest
    await eventually((harness.data / harness.project / digest).is_dir)


async def test_references_that_lead_nowhere_are_refused_with_what_exists(harness: Harness) -> None:
    async def refused(**changes: object) -> str:
        request = deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("bad", **changes))
        with pytest.raises(NotFound) as caught:
            await harness.deployments.CreateDeployment(request)
        return caught.value.message

    assert (await refused(model="gpt")).startswith("model: 'gpt' is not there; there are tiny@1")
    assert await refused(prompt="absent") == "prompt: 'absent' is not there; there are answer"
    missing = configuration_pb2.Retrieval(collection="library")
    assert await refused(retrieval=missing) == "retrieval.collection: 'library' is not there; there are handbook"
    gone = configuration_pb2.Retrieval(collection="handbook", index=9)
    assert await refused(retrieval=gone) == "retrieval.index: '9' is not there; there are 2"


async def test_a_damaged_model_is_refused_by_its_files_name_before_it_is_loaded(
    harness: Harness, tmp_path: Path
) -> None:
    await harness.add_model("damaged", await asyncio.to_thread(write_tiny_model, tmp_path, seed=8))
    (config,) = (each for each in harness.registry.versions["", "damaged@1"].artifacts if each.path == "config.json")
    await harness.store.put(config.bucket, config.key, b"{}" * (config.size // 2), media_type="application/json")
    await harness.deployments.CreateDeployment(
        deployment_service_pb2.CreateDeploymentRequest(deployment=deployment("damaged", model="damaged"))
    )

    with pytest.raises(PreconditionFailed, match=r"damaged@1 is refused: config\.json is damaged"):
        await generate(harness, asked(deployment="damaged"))


async def test_openais_own_client_and_curl_get_answers(harness: Harness) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{harness.http}/v1", api_key=admin_token(), project=harness.project
    ) as client:
        whole = await client.chat.completions.create(
            model="helpdesk", messages=[{"role": "user", "content": "What does os.walk do?"}]
        )
        stream = await client.chat.completions.create(
            model="helpdesk", messages=[{"role": "user", "content": "What does os.walk do?"}], stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    body = {"model": "helpdesk", "messages": [{"role": "user", "content": "What does os.walk do?"}]}
    by_curl = await _curl(harness, "--data", json.dumps(body))

    said = whole.choices[0].message.content
    assert said
    assert "".join(pieces) == said == by_curl["choices"][0]["message"]["content"]
    stored = await harness.inferences.GetInference(inference_service_pb2.GetInferenceRequest(id=whole.id))
    assert stored.inference.output[0].parts[0].text == said


async def test_a_response_is_kept_gone_on_from_and_deleted(harness: Harness) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{harness.http}/v1", api_key=admin_token(), project=harness.project
    ) as client:
        one = await client.responses.create(
            model="helpdesk", input="What does os.walk do?", instructions="Be short.", user="u1"
        )
        shown = await client.responses.retrieve(one.id)
        two = await client.responses.create(
            model="helpdesk", input="And json.dumps?", previous_response_id=one.id, user="u1"
        )
        items = [each async for each in client.responses.input_items.list(two.id)]
        await client.responses.delete(one.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(one.id)

    assert one.output_text
    assert (shown.output, shown.instructions) == (one.output, "Be short.")
    assert (two.previous_response_id, len(items)) == (one.id, 1)
    erased = await harness.inferences.GetInference(
        inference_service_pb2.GetInferenceRequest(id=(one.model_extra or {})["tidemill"]["inference"])
    )
    assert (list(erased.inference.messages), list(erased.inference.output)) == ([], [])


async def test_a_client_that_leaves_cancels_its_answer(harness: Harness) -> None:
    long = deployment("long", sampling=configuration_pb2.Sampling(max_output_tokens=350))
    await harness.deployments.CreateDeployment(deployment_service_pb2.CreateDeploymentRequest(deployment=long))
    call = harness.inferences.GenerateStream(
        inference_service_pb2.GenerateStreamRequest(request=asked(deployment="long"))
    )
    async for response in call:
        if response.HasField("started"):
            started = response.started.id
        if response.HasField("delta"):
            break
    call.cancel()

    async def cancelled() -> bool:
        request = inference_service_pb2.GetInferenceRequest(id=started)
        stored = (await harness.inferences.GetInference(request)).inference
        return stored.state == inference_pb2.INFERENCE_STATE_CANCELLED

    await eventually(cancelled)


async def test_what_is_no_question_is_refused_by_name(harness: Harness) -> None:
    with pytest.raises(InvalidInput, match="messages"):
        await generate(harness, asked(messages=[]))
    with pytest.raises(NotFound, match="helpdesk"):
        await generate(harness, asked(deployment="absent"))


async def _event(harness: Harness, topic: str, aggregate: str) -> dict[str, Any]:
    """Return the newest event of an aggregate once it is there."""
    while True:
        async for record in read_topic(harness.stack.kafka, topic):
            if record.key == f"{harness.project}/{aggregate}".encode():
                return dict(json.loads(record.value or b""))
        await asyncio.sleep(0.1)


async def _curl(harness: Harness, *arguments: str) -> dict[str, list[dict[str, dict[str, str]]]]:
    command = [
        "curl",
        "--silent",
        f"{harness.http}/v1/chat/completions",
        "--header",
        f"OpenAI-Project: {harness.project}",
        "-H",
        f"Authorization: Bearer {admin_token()}",
    ]
    process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return dict(json.loads(output))
