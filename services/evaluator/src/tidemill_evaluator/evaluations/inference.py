"""Client of the inference service, which generates the answers of both sides."""

from dataclasses import asdict

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import (
    configuration_pb2,
    deployment_service_pb2,
    inference_pb2,
    inference_service_pb2,
    price_pb2,
    prompt_pb2,
    prompt_service_pb2,
)
from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill.inference.v1.prompt_service_pb2_grpc import PromptServiceStub
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.evaluations.domain.asked_by import AS_DEPLOYED
from tidemill_evaluator.evaluations.ports import Answer, Live, Passage, PromptVersions, Question
from tidemill_evaluator.suites.domain.cases import Role, Turn
from tidemill_evaluator.suites.messages import turn_message
from tidemill_kit.mapping import REST, from_message, to_message

_MARGIN_S = 5.0
"""Extra time beyond the deadline, so that inference's own timeout error arrives first."""


class InferenceService:
    """Implements `ports.Inference` and `ports.Prompts`."""

    def __init__(self, channel: grpc.aio.Channel, *, answer_timeout_s: float) -> None:
        self._deployments = DeploymentServiceStub(channel)
        self._inferences = InferenceServiceStub(channel)
        self._prompts = PromptServiceStub(channel)
        self._answer_timeout_s = answer_timeout_s

    async def live(self, caller: Caller, deployment: str) -> Live:
        """See `Inference.live`."""
        request = deployment_service_pb2.GetDeploymentRequest(id=deployment)
        with acting_as(caller):
            found = (await self._deployments.GetDeployment(request)).deployment
        deadline_s = found.deadline.ToNanoseconds() / 1e9 or self._answer_timeout_s
        deadline_s = min(deadline_s, self._answer_timeout_s)
        retrieval = found.live.retrieval
        return Live(
            digest=found.live.digest,
            model=found.live.model,
            deadline_s=deadline_s,
            prompt=found.live.prompt,
            collection=retrieval.collection,
            index=retrieval.index,
        )

    async def prompt(self, caller: Caller, name: str) -> PromptVersions:
        """See `Prompts.prompt`."""
        with acting_as(caller):
            found = (await self._prompts.GetPrompt(prompt_service_pb2.GetPromptRequest(id=name))).prompt
        variables = {each.number: each.content.variables_schema for each in found.versions}
        digests = {each.number: each.digest for each in found.versions}
        return PromptVersions(latest=found.latest_version, variables=variables, digests=digests)

    async def ask(self, caller: Caller, question: Question) -> Answer:
        """See `Inference.ask`."""
        context = question.context
        request = inference_service_pb2.GenerateRequest(
            request_id=question.request_id,
            deployment=question.deployment,
            messages=[turn_message(turn) for turn in (*context.earlier, Turn(Role.USER, question.text))],
            variables=ParseDict(dict(context.variables), Struct()),
            principals=context.principals,
            end_user=question.end_user,
            purpose=inference_pb2.PURPOSE_EVALUATION,
            variant=question.variant,
            index=question.index,
            passages=[*map(passage_message, question.passages)],
            prompt=question.prompt,
            unsaved_prompt=to_message(prompt_pb2.PromptContent, question.unsaved) if question.unsaved else None,
            sampling=None
            if question.sampling == AS_DEPLOYED  # as a worker of another version asks: a retry has to be the same
            else configuration_pb2.Sampling(**asdict(question.sampling)),
        )
        with acting_as(caller):
            response = await self._inferences.Generate(request, timeout=question.deadline_s + _MARGIN_S)
        return _answer(response.inference)


def passage_message(passage: Passage) -> content_pb2.Passage:
    """Return the message of a passage that is given to the other side: its text and its place."""
    left = dict.fromkeys(("header_start", "header_end", "also_in", "places", "rerank_score"))
    return to_message(content_pb2.Passage, passage, **left)


def _answer(inference: inference_pb2.Inference) -> Answer:
    """Return the answer; a replayed record lacks the passages' texts, and below mode FULL the output too."""
    passages = tuple(from_message(Passage, each, ignore=REST) for each in inference.passages)
    return Answer(
        inference=inference.id,
        text="".join(part.text or part.json for message in inference.output for part in message.parts),
        configuration=inference.variant.configuration,
        model=inference.variant.model,
        citation_valid=inference.citation_valid if inference.HasField("citation_valid") else None,
        passages=passages,
        index=inference.variant.index,
        whole=bool(inference.output) and all(passage.text for passage in passages),
        total_s=(inference.usage.total.ToNanoseconds() - inference.usage.search.ToNanoseconds()) / 1e9,
        output_tokens=inference.usage.output_tokens or None,
        input_tokens=inference.usage.input_tokens or None,
        cost=_cost(inference.cost),
    )


def _cost(cost: price_pb2.Cost) -> float | None:
    """Return what all attempts cost; None where one has no price, or there was none."""
    priced = bool(cost.items) and all(each.price for each in cost.items)
    return float(cost.amount or 0) if priced else None
