"""inference's deployments and answers in memory, for tests of what calls it.

`services/inference/tests/contract/test_inference_api.py` holds them to the real ones.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from uuid import uuid4

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_pb2, inference_pb2
from tidemill.inference.v1 import deployment_service_pb2 as deployments
from tidemill.inference.v1 import inference_service_pb2 as inferences
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceServicer
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceServicer
from tidemill_core.application import derived_id
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed, RequestIdReused, Violation
from tidemill_testkit.stubs.calls import Context, errors_of, project_of, with_reason

Answers = Callable[[inferences.GenerateRequest], str]
_LIVE = {inference_pb2.PURPOSE_UNSPECIFIED, inference_pb2.PURPOSE_LIVE}
_RECORDED = {deployment_pb2.RECORD_MODE_UNSPECIFIED, deployment_pb2.RECORD_MODE_FULL}


def repeats_the_question(request: inferences.GenerateRequest) -> str:
    """Answer with the last message."""
    return text_of(request.messages[-1])


def text_of(message: content_pb2.Message) -> str:
    """Return the text of a message."""
    return "".join(part.text for part in message.parts)


def message_of(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    """Return a message of one text."""
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=text)])


class StubDeployments(DeploymentServiceServicer):
    """Has deployments. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], deployment_pb2.Deployment] = {}

    def add(self, deployment: deployment_pb2.Deployment, *, project: str = "") -> None:
        """Add a deployment, or change it; those of the project "" are seen by all."""
        self._kept[project, deployment.id] = deployment

    async def GetDeployment(
        self, request: deployments.GetDeploymentRequest, context: Context
    ) -> deployments.GetDeploymentResponse:
        """Return a deployment."""
        async with errors_of(context):
            found = self.of(project_of(context), request.id)
        return deployments.GetDeploymentResponse(deployment=found)

    def of(self, project: str, deployment: str) -> deployment_pb2.Deployment:
        """Return a deployment that a project sees.

        Raises:
            NotFound: there is none.

        """
        for owner in (project, ""):
            if (owner, deployment) in self._kept:
                return self._kept[owner, deployment]
        message = f"there is no deployment {deployment} in this project"
        raise with_reason(NotFound(message, deployment=deployment), reason="DEPLOYMENT_NOT_FOUND")


class StubInferences(InferenceServiceServicer):
    """Answers by a function, on passages that are found for every question. Runs in any grpc.aio server."""

    def __init__(
        self,
        known: StubDeployments,
        *,
        answers: Answers = repeats_the_question,
        passages: Sequence[content_pb2.Passage] = (),
    ) -> None:
        self.answers = answers
        self.asked: list[inferences.GenerateRequest] = []
        """What was answered, repeated requests once."""
        self._known = known
        self._passages = passages
        self._kept: dict[tuple[str, str], inference_pb2.Inference] = {}
        self._prompts: dict[tuple[str, str], inferences.GetInferencePromptResponse] = {}
        self._requests: dict[tuple[str, str], bytes] = {}

    def add(
        self,
        inference: inference_pb2.Inference,
        *,
        project: str,
        prompt: inferences.GetInferencePromptResponse | None = None,
    ) -> None:
        """Add a record, whose prompt can be shown where it is given."""
        self._kept[project, inference.id] = inference
        if prompt is not None:
            self._prompts[project, inference.id] = prompt

    async def answered(self, request: inferences.GenerateRequest, project: str) -> inference_pb2.Inference:
        """Return the answer, and record it; a repeated request is answered by the record.

        Raises:
            NotFound: there is no such deployment.
            InvalidInput: the request cannot be answered, or its id was used with another body.

        """
        name = derived_id(project, request.request_id or str(uuid4()))
        body = request.SerializeToString(deterministic=True)
        if self._requests.setdefault((project, name), body) != body:
            raise RequestIdReused(request.request_id)
        if (project, name) in self._kept:
            return self._kept[project, name]
        try:
            answer = self._answer(request, project, name)
        except (NotFound, InvalidInput):
            del self._requests[project, name]
            raise
        self.asked.append(request)
        recorded = inference_pb2.Inference()
        recorded.CopyFrom(answer)
        for each in recorded.passages:
            each.ClearField("text")  # records keep the span
        if request.record_mode not in _RECORDED:
            _clear(recorded, "messages", "output")
        self.add(recorded, project=project, prompt=_prompt(request) if request.record_mode in _RECORDED else None)
        return answer

    async def Generate(self, request: inferences.GenerateRequest, context: Context) -> inferences.GenerateResponse:
        """Answer a question, whole."""
        async with errors_of(context):
            answer = await self.answered(request, project_of(context))
        return inferences.GenerateResponse(inference=answer)

    async def GenerateStream(
        self, request: inferences.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[inferences.GenerateStreamResponse]:
        """Answer a question, a word at a time."""
        async with errors_of(context):
            answer = await self.answered(request.request, project_of(context))
        yield inferences.GenerateStreamResponse(sequence=1, started=inference_pb2.Inference(id=answer.id))
        words = "".join(text_of(each) for each in answer.output).split(" ")
        for number, word in enumerate(words):
            delta = inferences.PartDelta(text=f" {word}" if number else word)
            yield inferences.GenerateStreamResponse(sequence=number + 2, delta=delta)
        yield inferences.GenerateStreamResponse(sequence=len(words) + 2, finished=answer)

    async def GetInference(
        self, request: inferences.GetInferenceRequest, context: Context
    ) -> inferences.GetInferenceResponse:
        """Return a record."""
        async with errors_of(context):
            found = self._of(project_of(context), request.id)
        return inferences.GetInferenceResponse(inference=found)

    async def GetInferencePrompt(
        self, request: inferences.GetInferencePromptRequest, context: Context
    ) -> inferences.GetInferencePromptResponse:
        """Return the prompt of a record that has one."""
        async with errors_of(context):
            project = project_of(context)
            found = self._of(project, request.id)
            prompt = self._prompts.get((project, found.id))
            if prompt is None:
                message = f"the prompt of inference {found.id} cannot be shown"
                raise with_reason(PreconditionFailed(message, inference=found.id), reason="PROMPT_NOT_RECORDED")
        return prompt

    async def EraseEndUser(
        self, request: inferences.EraseEndUserRequest, context: Context
    ) -> inferences.EraseEndUserResponse:
        """Erase all records of an end user, or count them."""
        async with errors_of(context):
            if not request.end_user:
                raise InvalidInput.of(Violation(field="end_user", description="is empty"))
        project = project_of(context)
        found = [key for key, each in self._kept.items() if key[0] == project and each.end_user == request.end_user]
        for key in () if request.validate_only else found:
            _clear(self._kept[key], "end_user", "labels", "messages", "output", "passages")
            self._prompts.pop(key, None)
        return inferences.EraseEndUserResponse(erased=len(found))

    def _answer(self, request: inferences.GenerateRequest, project: str, name: str) -> inference_pb2.Inference:
        deployment = self._known.of(project, request.deployment)
        for field in ("variant", "passages"):
            if getattr(request, field) and request.purpose in _LIVE:
                description = "is given, and the purpose is LIVE"
                raise with_reason(
                    InvalidInput.of(Violation(field=field, description=description)), reason="QUESTION_REFUSED"
                )
        answer = inference_pb2.Inference(
            id=name,
            project=project,
            deployment=deployment.id,
            state=inference_pb2.INFERENCE_STATE_COMPLETED,
            finish_reason="stop",
            variant=inference_pb2.Variant(
                configuration=deployment.live.digest, model=request.variant or deployment.live.model
            ),
            messages=request.messages,
            output=[message_of(content_pb2.ROLE_ASSISTANT, self.answers(request))],
            passages=request.passages or self._passages,
            end_user=request.end_user,
            labels=request.labels,
            purpose=request.purpose or inference_pb2.PURPOSE_LIVE,
        )
        for number, passage in enumerate(answer.passages, start=1):
            passage.id = str(number)
        if answer.passages:
            answer.citation_valid = 1.0
        return answer

    def _of(self, project: str, inference: str) -> inference_pb2.Inference:
        if (project, inference) not in self._kept:
            message = f"there is no inference {inference} in this project"
            raise with_reason(NotFound(message, inference=inference), reason="INFERENCE_NOT_FOUND")
        return self._kept[project, inference]


def _clear(inference: inference_pb2.Inference, *fields: str) -> None:
    for name in fields:
        inference.ClearField(name)  # type: ignore[arg-type] # names of fields


def _prompt(request: inferences.GenerateRequest) -> inferences.GetInferencePromptResponse:
    """Return what the model is shown: here, what was asked."""
    return inferences.GetInferencePromptResponse(
        messages=request.messages,
        question=text_of(request.messages[-1]),
        earlier=request.messages[:-1],
        variables=request.variables,
        principals=request.principals,
    )
