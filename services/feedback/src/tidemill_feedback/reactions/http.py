"""`POST /v1/feedback`: reactions to an answer, from the page that shows it.

The body has `inference`, its `token` (the `feedback_token` that came with the answer), `metric`, the value as `number`,
`comment` or `correction`, and may have `request_id`. The reaction is the asking user's: a browser cannot name another
one. `DELETE /v1/feedback/{id}` withdraws it, with the same token in the header `Feedback-Token` (an address is in too
many logs). The RPCs do the rest, behind the edge that all RPCs have: a request has one effect, one line of log and one
place among the RPCs in work, however it comes.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from google.protobuf.message import Message
from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import feedback_pb2
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill_core.application import Caller, Clock
from tidemill_core.errors import NotFound
from tidemill_core.resources import MAX_REQUEST_ID, check_request_id
from tidemill_feedback.errors import FeedbackOfAnother, TokensNotConfigured
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_kit.http.signed_tokens import SignedTokens

PURPOSE = "feedback"
"""Of the tokens, as inference makes them."""

_SERVICE = pb.DESCRIPTOR.services_by_name["FeedbackService"].full_name
_SUBMIT = policy_of(pb.DESCRIPTOR, "FeedbackService/SubmitFeedback")
_WITHDRAW = policy_of(pb.DESCRIPTOR, "FeedbackService/WithdrawFeedback")
_MAX_NAME = 512
_TOKEN_HEADER = "feedback-token"  # noqa: S105 - a header's name
_ASKER = "user"
_VALUES = ("number", "comment", "correction")


class FeedbackBody(Strict):
    """What is taken."""

    inference: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_NAME)]
    metric: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_NAME)]
    number: float | None = None
    comment: str | None = None
    correction: str | None = None
    token: Annotated[str, StringConstraints(max_length=_MAX_NAME)] = ""
    request_id: str = Field("", max_length=MAX_REQUEST_ID)

    @model_validator(mode="after")
    def _has_one_value(self) -> "FeedbackBody":
        if sum(getattr(self, name) is not None for name in _VALUES) != 1:
            message = f"send exactly one of {', '.join(_VALUES)}"
            raise ValueError(message)
        return self

    def message(self) -> pb.SubmitFeedbackRequest:
        """Return the request of the contract; inference makes the same one of the same body."""
        value: dict[str, Any] = {name: given for name in _VALUES if (given := getattr(self, name)) is not None}
        if self.correction is not None:
            part = content_pb2.Part(text=self.correction)
            output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part])
            value["correction"] = feedback_pb2.Correction(output=[output])
        feedback = feedback_pb2.Feedback(inference=self.inference, metric=self.metric, **value)
        return pb.SubmitFeedbackRequest(feedback=feedback, request_id=self.request_id)


@dataclass(frozen=True, kw_only=True)
class HttpFeedback:
    """Serves reactions of users who were shown an answer."""

    rpcs: HttpRpcs
    tokens: SignedTokens | None
    clock: Clock
    max_body_bytes: int

    def routes(self) -> list[Route]:
        """Return what is served, with the project in a header or in the path."""
        return [
            route
            for prefix in ("/v1/feedback", "/projects/{project}/v1/feedback")
            for route in (
                Route(prefix, self.submit, methods=["POST"]),
                Route(f"{prefix}/{{id}}", self.withdraw, methods=["DELETE"]),
            )
        ]

    async def submit(self, http: Request) -> Response:
        """Record a reaction, and return its id."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_SUBMIT, has_token=True)
        body = body_of(FeedbackBody, await exchange.body(at_most=self.max_body_bytes))
        exchange.facts["inference"] = body.inference
        self._check(body.token, caller.project, body.inference)
        return _reply(await self._called("SubmitFeedback", body.message(), _holder(caller)))

    async def withdraw(self, http: Request) -> Response:
        """Withdraw a reaction of the user who asked."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_WITHDRAW, has_token=True)
        request_id = http.query_params.get("request_id", "")
        check_request_id(request_id)
        if self.tokens is None:
            raise TokensNotConfigured
        try:
            known = await self._called("GetFeedback", pb.GetFeedbackRequest(id=http.path_params["id"]), caller)
        except NotFound:
            if exchange.anonymous:
                raise self.tokens.refusal() from None
            raise
        exchange.facts["inference"] = known.inference
        self._check(http.headers.get(_TOKEN_HEADER, ""), caller.project, known.inference)
        withdrawn = known.state == feedback_pb2.FEEDBACK_STATE_WITHDRAWN
        if known.rater != _ASKER or not (known.counts or withdrawn):
            raise FeedbackOfAnother
        request = pb.WithdrawFeedbackRequest(id=known.id, request_id=request_id)
        return _reply(await self._called("WithdrawFeedback", request, _holder(caller)))

    async def _called(self, rpc: str, request: Message, caller: Caller) -> feedback_pb2.Feedback:
        reply: Any = await self.rpcs.call(f"/{_SERVICE}/{rpc}", request, caller=caller)
        feedback: feedback_pb2.Feedback = reply.feedback
        return feedback

    def _check(self, token: str, project: str, inference: str) -> None:
        if self.tokens is None:
            raise TokensNotConfigured
        self.tokens.check(token, project, inference, now=self.clock.now())


def _holder(caller: Caller) -> Caller:
    """Return who reacts: the holder of the answer's token stands for who asked, whatever credential is sent with it."""
    return Caller(project=caller.project)


def _reply(feedback: feedback_pb2.Feedback) -> Response:
    state = feedback_pb2.FeedbackState.Name(feedback.state).removeprefix("FEEDBACK_STATE_").lower()
    answer = {"id": feedback.id, "object": "feedback", "state": state}
    return JSONResponse(answer | {"inference": feedback.inference, "metric": feedback.metric})
