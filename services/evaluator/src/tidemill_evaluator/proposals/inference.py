"""Live answers, as inference has recorded them."""

import grpc
from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import deployment_service_pb2, inference_pb2, inference_service_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.proposals.ports import LiveAnswer
from tidemill_evaluator.suites.domain.cases import Context, DocumentVersion, Turn
from tidemill_evaluator.suites.messages import ROLES

_TOOLS = frozenset({"tool_call", "tool_result"})


class InferenceLiveRecords:
    """Implements `ports.LiveRecords`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._deployments = DeploymentServiceStub(channel)
        self._inferences = InferenceServiceStub(channel)

    async def deployment_exists(self, caller: Caller, deployment: str) -> bool:
        """See `LiveRecords.deployment_exists`."""
        try:
            with acting_as(caller):
                await self._deployments.GetDeployment(deployment_service_pb2.GetDeploymentRequest(id=deployment))
        except NotFound:
            return False
        return True

    async def read(self, caller: Caller, inference: str) -> LiveAnswer | str:
        """See `LiveRecords.read`."""
        try:
            with acting_as(caller):
                request = inference_service_pb2.GetInferenceRequest(id=inference)
                found = (await self._inferences.GetInference(request)).inference
                if why := _unusable(found):
                    return why
                prompt = await self._inferences.GetInferencePrompt(
                    inference_service_pb2.GetInferencePromptRequest(id=inference)
                )
        except (NotFound, PreconditionFailed) as error:
            return error.message
        if any(each.role not in ROLES or _uses_tools(each) for each in (*prompt.earlier, *found.output)):
            return "it uses tools"
        return LiveAnswer(
            deployment=found.deployment,
            question=prompt.question,
            answer="".join(map(_text, found.output)),
            context=Context(
                earlier=tuple(Turn(ROLES[each.role], _text(each)) for each in prompt.earlier),
                variables=MessageToDict(prompt.variables),
                principals=tuple(prompt.principals),
            ),
            end_user=found.end_user,
            labels=dict(found.labels),
            rests_on=tuple(
                dict.fromkeys(DocumentVersion(each.document, each.version, each.collection) for each in found.passages)
            ),
        )


def _unusable(found: inference_pb2.Inference) -> str:
    """Return why a record cannot be a case; "" where it can."""
    if found.purpose not in {inference_pb2.PURPOSE_UNSPECIFIED, inference_pb2.PURPOSE_LIVE}:
        return "it is not a live answer"
    if found.restricted:
        return "it rests on documents that the caller may not read"
    if found.state != inference_pb2.INFERENCE_STATE_COMPLETED or not found.output:
        return "it has no answer, or its text was not kept"
    return ""


def _uses_tools(message: content_pb2.Message) -> bool:
    return any(part.WhichOneof("content") in _TOOLS for part in message.parts)


def _text(message: content_pb2.Message) -> str:
    return "".join(part.text or part.json for part in message.parts)
