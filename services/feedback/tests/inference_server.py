"""A server with the stub of inference, whose records a test adds."""

from functools import cache

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import conversation_pb2, inference_pb2
from tidemill.inference.v1 import conversation_service_pb2 as rpc
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1.conversation_service_pb2_grpc import (
    ConversationServiceServicer,
    add_ConversationServiceServicer_to_server,
)
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill_core.errors import NotFound
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.grpc.server import GrpcServer, current_caller
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.stubs.inference import StubDeployments, StubInferences, message_of


class InferenceServer:
    """Serves the inferences that a test adds."""

    def __init__(self) -> None:
        deployments = StubDeployments()  # type: ignore[abstract]  # only records are read
        self._inferences = StubInferences(deployments)  # type: ignore[abstract]  # it has what feedback calls
        self.conversations = Conversations()  # type: ignore[abstract]  # it has what feedback calls
        self._server = GrpcServer(
            settings(),
            [
                (add_InferenceServiceServicer_to_server, self._inferences),
                (add_ConversationServiceServicer_to_server, self.conversations),
            ],
            access=access_of(),
            audit=RecordedCalls(),
        )

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
        output: str | content_pb2.Part = "It is wrong.",
        purpose: inference_pb2.Purpose.ValueType = inference_pb2.PURPOSE_LIVE,
        state: inference_pb2.InferenceState.ValueType = inference_pb2.INFERENCE_STATE_COMPLETED,
    ) -> None:
        passage = content_pb2.Passage(id="1", document="d1", version=2, start=3, end=9, source="cms", key="kb/1")
        said = content_pb2.Part(text=output) if isinstance(output, str) else output
        record = inference_pb2.Inference(
            id=inference,
            project=project,
            deployment="helpdesk",
            variant=inference_pb2.Variant(name="candidate", rollout="r1"),
            output=[content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[said])],
            passages=[passage],
            end_user=end_user,
            purpose=purpose,
            state=state,
        )
        self._inferences.add(record, project=project, prompt=_prompt(f"What is {inference}?"))


class Conversations(ConversationServiceServicer):
    """Returns the conversations that a test adds: the states of their turns `c1/1`, `c1/2` and so on, by id."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, str], list[inference_pb2.InferenceState.ValueType]] = {}

    async def GetConversation(  # noqa: N802 - the RPC
        self, request: rpc.GetConversationRequest, _context: object
    ) -> rpc.GetConversationResponse:
        states = self.turns.get((current_caller().project, request.id))
        if states is None:
            message = f"there is no conversation {request.id}"
            raise NotFound(message)
        turns = [
            conversation_pb2.Turn(number=number, inference=f"{request.id}/{number}", state=state)
            for number, state in enumerate(states, 1)
        ]
        return rpc.GetConversationResponse(conversation=conversation_pb2.Conversation(id=request.id, turns=turns))


def _prompt(question: str) -> pb.GetInferencePromptResponse:
    messages = [message_of(content_pb2.ROLE_SYSTEM, "Answer."), message_of(content_pb2.ROLE_USER, question)]
    earlier = [message_of(content_pb2.ROLE_USER, "Hello")]
    reply = pb.GetInferencePromptResponse(messages=messages, question=question, earlier=earlier, principals=["staff"])
    reply.variables.update({"product": "topic"})
    return reply


@cache
def settings(**fields: object) -> FeedbackSettings:
    return FeedbackSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            "inference_address": "127.0.0.1:1",
        }
        | fields
    )
