"""Reads of inference what is known of an answer."""

import grpc

from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1.inference_service_pb2 import GetInferenceRequest
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_feedback.errors import InferenceUnanswered, InferenceUnknown
from tidemill_feedback.reviews.domain.sampling import RecordedAnswer
from tidemill_kit.mapping import from_timestamp

_LIVE = {inference_pb2.PURPOSE_UNSPECIFIED, inference_pb2.PURPOSE_LIVE}


class InferenceRecords:
    """Implements `ports.Answers`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inference = InferenceServiceStub(channel)

    async def read(self, caller: Caller, inference: str) -> RecordedAnswer:
        """See `Answers.read`."""
        with acting_as(caller):
            try:
                found = (await self._inference.GetInference(GetInferenceRequest(id=inference))).inference
            except NotFound as error:
                raise InferenceUnknown(inference) from error
        if found.state != inference_pb2.INFERENCE_STATE_COMPLETED:
            raise InferenceUnanswered(inference)
        return RecordedAnswer(
            inference=found.id,
            deployment=found.deployment,
            end_user=found.end_user,
            documents=tuple(dict.fromkeys(passage.document for passage in found.passages)),
            stratum=found.variant.configuration,
            support=found.citation_valid if found.HasField("citation_valid") else None,
            finish_reason=found.finish_reason,
            live=found.purpose in _LIVE,
            answered_at=from_timestamp(found.finish_time, field="finish_time"),
        )
