"""`POST /v1/feedback`: reactions to an answer, from the page that shows it.

The body has `inference`, its `token` (the `feedback_token` that came with the answer), `metric` ("rating", "comment" or
"correction"), the value as `number`, `comment` or `correction`, and may have `request_id`. The reaction is
the asking user's: a browser cannot name another one. Other fields are refused by name. Errors have OpenAI's format.

`DELETE /v1/feedback/{id}` withdraws it, with the same token in the header `Feedback-Token` (an address is in too many
logs) and, optionally, `?request_id=`. It withdraws only reactions of the asking user, not of reviewers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import feedback_pb2
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill_core.application import Caller, Clock
from tidemill_core.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Violation,
)
from tidemill_core.grpc.context import acting_as
from tidemill_core.resources import MAX_REQUEST_ID, check_request_id
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.generation.domain.inference import Inference
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.signed_tokens import SignedTokens

_MAX_NAME = 512


class TokensNotConfigured(PreconditionFailed):
    """There is no key to check tokens with."""

    reason = "FEEDBACK_TOKENS_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__(
            "feedback over HTTP is not configured: set INFERENCE_FEEDBACK_TOKEN_KEY, or submit it to feedback by gRPC"
        )


class NotTheAskers(PermissionDenied):
    """The token is that of the person who asked, and the reaction is another person's."""

    reason = "FEEDBACK_OF_ANOTHER"

    def __init__(self) -> None:
        super().__init__(
            "the reaction is not that of the person who asked: withdraw it by feedback's gRPC API, as it was submitted"
        )


_SUBMIT = policy_of(pb.DESCRIPTOR, "FeedbackService/SubmitFeedback")
_WITHDRAW = policy_of(pb.DESCRIPTOR, "FeedbackService/WithdrawFeedback")
_TOKEN_HEADER = "feedback-token"  # noqa: S105 - a header's name
_ASKER = "user"
"""The rater that the person who asked is."""
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
        """Return the request of the contract; feedback makes the same one of the same body."""
        value: dict[str, Any] = {name: given for name in _VALUES if (given := getattr(self, name)) is not None}
        if self.correction is not None:
            part = content_pb2.Part(text=self.correction)
            output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part])
            value["correction"] = feedback_pb2.Correction(output=[output])
        feedback = feedback_pb2.Feedback(inference=self.inference, metric=self.metric, **value)
        return pb.SubmitFeedbackRequest(feedback=feedback, request_id=self.request_id)


@dataclass(frozen=True, kw_only=True)
class HttpFeedback:
    """Serves `POST /v1/feedback` and `DELETE /v1/feedback/{id}`, and makes the tokens that they take."""

    service: FeedbackServiceStub | None
    """None where no address of feedback is set."""
    timeout_s: float
    max_body_bytes: int
    tokens: SignedTokens | None
    """None where there is no key to make them with."""
    clock: Clock

    def token_of(self, inference: Inference) -> str:
        """Return the token of an answer, "" without a key."""
        return self.tokens.issue(inference.project, inference.id, now=self.clock.now()) if self.tokens else ""

    async def submit(self, http: HttpRequest) -> Response:
        """Submit a reaction to feedback, and return its id."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_SUBMIT, has_token=True)
        body = body_of(FeedbackBody, await exchange.body(at_most=self.max_body_bytes))
        exchange.facts["inference"] = body.inference
        self._check(body.token, caller.project, body.inference)
        try:
            with self._asked(caller) as feedback:
                submitted = await feedback.SubmitFeedback(body.message(), timeout=self.timeout_s)
        except InvalidInput as error:
            raise _as_sent(error) from error
        return _reply(submitted.feedback)

    async def withdraw(self, http: HttpRequest) -> Response:
        """Withdraw a reaction of the person who asked."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_WITHDRAW, has_token=True)
        request = pb.WithdrawFeedbackRequest(
            id=http.path_params["id"], request_id=http.query_params.get("request_id", "")
        )
        check_request_id(request.request_id)
        if self.tokens is None:
            raise TokensNotConfigured
        with self._asked(caller) as feedback:
            try:
                asked = pb.GetFeedbackRequest(id=request.id)
                known = (await feedback.GetFeedback(asked, timeout=self.timeout_s)).feedback
            except NotFound:
                if exchange.anonymous:
                    raise self.tokens.refusal() from None
                raise
            exchange.facts["inference"] = known.inference
            self._check(http.headers.get(_TOKEN_HEADER, ""), caller.project, known.inference)
            is_withdrawn = known.state == feedback_pb2.FEEDBACK_STATE_WITHDRAWN
            if known.rater != _ASKER or not (known.counts or is_withdrawn):
                raise NotTheAskers
            return _reply((await feedback.WithdrawFeedback(request, timeout=self.timeout_s)).feedback)

    @contextmanager
    def _asked(self, caller: Caller) -> Iterator[FeedbackServiceStub]:
        if self.service is None:
            raise ServiceNotNamed(service="feedback", setting="INFERENCE_FEEDBACK_ADDRESS")
        try:
            with acting_as(caller):
                yield self.service
        except (DeadlineExceeded, Internal) as error:
            message = f"feedback does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="feedback") from error

    def _check(self, token: str, project: str, inference: str) -> None:
        if self.tokens is None:
            raise TokensNotConfigured
        self.tokens.check(token, project, inference, now=self.clock.now())


def _reply(feedback: feedback_pb2.Feedback) -> Response:
    state = feedback_pb2.FeedbackState.Name(feedback.state).removeprefix("FEEDBACK_STATE_").lower()
    answer = {"id": feedback.id, "object": "feedback", "state": state}
    return JSONResponse(answer | {"inference": feedback.inference, "metric": feedback.metric})


def _as_sent(error: InvalidInput) -> InvalidInput:
    """Return the error with its fields called as this caller called them."""
    if not error.violations:
        return error
    refusal = InvalidInput.of(
        *(Violation(_field(violation.field), violation.description) for violation in error.violations)
    )
    refusal.reason, refusal.metadata = error.reason, error.metadata
    return refusal


def _field(path: str) -> str:
    name = path.removeprefix("feedback.")
    return "correction" if name.startswith("correction") else name
