"""A server with inference's contract: two RPCs that feedback calls, answered from memory."""

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from tidemill_core.errors import NotFound
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.grpc.server import GrpcServer, current_caller


class _Inferences(InferenceServiceServicer):
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], inference_pb2.Inference] = {}

    async def GetInference(  # noqa: N802 - the name of the contract
        self, request: pb.GetInferenceRequest, _context: object
    ) -> pb.GetInferenceResponse:
        return pb.GetInferenceResponse(inference=self._found(request.id))

    async def GetInferencePrompt(  # noqa: N802 - the name of the contract
        self, request: pb.GetInferencePromptRequest, _context: object
    ) -> pb.GetInferencePromptResponse:
        question = f"What is {self._found(request.id).id}?"
        messages = [
            message_of(content_pb2.ROLE_SYSTEM, "Answer."),
            message_of(content_pb2.ROLE_USER, question),
        ]
        reply = pb.GetInferencePromptResponse(messages=messages, question=question, principals=["staff"])
        reply.earlier.append(message_of(content_pb2.ROLE_USER, "Hello"))
        reply.variables.update({"product": "topic"})
        return reply

    def _found(self, inference: str) -> inference_pb2.Inference:
        found = self.stored.get((current_caller().project, inference))
        if found is None:
            message = "there is no such inference"
            raise NotFound(message)
        return found


class InferenceServer:
    """Serves the inferences that a test adds."""

    def __init__(self) -> None:
        self._inferences = _Inferences()  # type: ignore[abstract]  # the other RPCs are not called
        self._server = GrpcServer(settings(), [(add_InferenceServiceServicer_to_server, self._inferences)])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(1.0)

    def put(  # noqa: PLR0913 - an inference has many sides
        self,
        inference: str,
        *,
        project: str,
        end_user: str = "u1",
        output: str = "It is wrong.",
        purpose: inference_pb2.Purpose.ValueType = inference_pb2.PURPOSE_LIVE,
        state: inference_pb2.InferenceState.ValueType = inference_pb2.INFERENCE_STATE_COMPLETED,
    ) -> None:
        passage = content_pb2.Passage(id="1", document="d1", version=2, start=3, end=9, source="cms", key="kb/1")
        self._inferences.stored[project, inference] = inference_pb2.Inference(
            id=inference,
            project=project,
            deployment="helpdesk",
            variant=inference_pb2.Variant(name="candidate", rollout="r1"),
            output=[message_of(content_pb2.ROLE_ASSISTANT, output)],
            passages=[passage],
            end_user=end_user,
            purpose=purpose,
            state=state,
        )


def message_of(role: content_pb2.Role.ValueType, text: str) -> content_pb2.Message:
    return content_pb2.Message(role=role, parts=[content_pb2.Part(text=text)])


def settings(**fields: object) -> FeedbackSettings:
    return FeedbackSettings.model_validate(
        {
            "grpc_port": 0,
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            "inference_address": "127.0.0.1:1",
        }
        | fields
    )
