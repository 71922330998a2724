"""Client of the inference service, whose deployments judge."""

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_pb2, deployment_service_pb2, inference_pb2, inference_service_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.judges.domain.form import Form, Material
from tidemill_evaluator.judges.ports import JudgeAnswer, JudgeDeployment, Record
from tidemill_evaluator.suites.messages import ROLES

_MARGIN_S = 5.0
"""Extra time beyond the deadline, so that inference's own timeout error arrives first."""


class InferenceJudges:
    """Implements `ports.JudgeModels`.

    What is judged is text of end users and documents: records of judgements keep metadata alone, so that no erasure has
    to find them.
    """

    def __init__(self, channel: grpc.aio.Channel, *, answer_timeout_s: float) -> None:
        self._deployments = DeploymentServiceStub(channel)
        self._inferences = InferenceServiceStub(channel)
        self._answer_timeout_s = answer_timeout_s

    async def deployment(self, caller: Caller, deployment: str) -> JudgeDeployment:
        """See `JudgeModels.deployment`."""
        request = deployment_service_pb2.GetDeploymentRequest(id=deployment)
        with acting_as(caller):
            found = (await self._deployments.GetDeployment(request)).deployment
        deadline_s = found.deadline.ToNanoseconds() / 1e9 or self._answer_timeout_s
        return JudgeDeployment(
            configuration=found.live.digest,
            model=found.live.model,
            deadline_s=min(deadline_s, self._answer_timeout_s),
            searches=found.live.retrieval.collection,
        )

    async def ask(
        self, caller: Caller, deployment: str, form: Form, *, request_id: str, deadline_s: float
    ) -> JudgeAnswer:
        """See `JudgeModels.ask`."""
        request = inference_service_pb2.GenerateRequest(
            request_id=request_id,
            deployment=deployment,
            messages=[
                _message(content_pb2.ROLE_SYSTEM, form.instructions),
                _message(content_pb2.ROLE_USER, form.material),
            ],
            purpose=inference_pb2.PURPOSE_EVALUATION,
            record_mode=deployment_pb2.RECORD_MODE_METADATA,
            output_format=inference_service_pb2.OutputFormat(schema_json=form.schema, name="judgement", strict=True),
        )
        with acting_as(caller):
            response = await self._inferences.Generate(request, timeout=deadline_s + _MARGIN_S)
        answer = response.inference
        return JudgeAnswer(
            text="".join(_text(each) for each in answer.output),
            configuration=answer.variant.configuration,
            model=answer.variant.model,
            whole=bool(answer.output),
        )


class InferenceRecords:
    """Implements `ports.Records`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inferences = InferenceServiceStub(channel)

    async def read(self, caller: Caller, inference: str) -> Record | None:
        """See `Records.read`."""
        try:
            with acting_as(caller):
                request = inference_service_pb2.GetInferenceRequest(id=inference)
                found = (await self._inferences.GetInference(request)).inference
        except NotFound:
            return None
        said = [each for each in found.messages if each.role in ROLES]
        asked = max((place for place, each in enumerate(said) if each.role == content_pb2.ROLE_USER), default=-1)
        answer = "".join(_text(each) for each in found.output)
        if asked < 0 or not answer or found.restricted or found.conversation:
            return None
        material = Material(
            question=_text(said[asked]),
            answer=answer,
            earlier=[(ROLES[each.role].value, _text(each)) for each in said[:asked]],
        )
        return Record(material=material, end_user=found.end_user, model=found.variant.model)


def _text(message: content_pb2.Message) -> str:
    return "".join(part.text or part.json for part in message.parts)


def _message(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=text)])
