"""`POST /v1/feedback`: reactions to an answer, from the page that shows it; inference and feedback both serve it.

The body has `inference`, its `token` (the `feedback_token` that came with the answer), `metric` ("rating", "comment",
"correction", "preference", or one that the project declares), the value as `number`, `comment`, `correction` or
`preference` (`rejected` is the other inference, of the same user; `tie` and `chosen_position` are optional), of a
declared metric as `flag`, `number` or `category`, and may have `request_id`. The reaction is the asking user's: a
browser cannot name another one. Other fields are refused by name.

`DELETE /v1/feedback/{id}` withdraws it, with the same token in the header `Feedback-Token` (an address is in too many
logs) and, optionally, `?request_id=`. It withdraws only reactions of the asking user, not of reviewers.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Protocol

from pydantic import Field, SecretStr, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import feedback_pb2
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill_core.application import Caller, Clock
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Violation
from tidemill_core.resources import MAX_REQUEST_ID, check_request_id
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.signed_tokens import SignedTokens

_SUBMIT = policy_of(pb.DESCRIPTOR, "FeedbackService/SubmitFeedback")
_WITHDRAW = policy_of(pb.DESCRIPTOR, "FeedbackService/WithdrawFeedback")
_PURPOSE = "feedback"
_MAX_NAME = 512
_TOKEN_HEADER = "feedback-token"  # noqa: S105 - a header's name
_ASKER = "user"
"""The rater that the user who asked is."""
_OF_CONVERSATIONS = Violation(
    "metric", "is about conversations, and the token of one answer: give it by gRPC, or as an event"
)
_VALUES = ("flag", "number", "category", "comment", "correction", "preference")


class TokenRefused(PermissionDenied):
    """The reaction does not come from where the answer was shown."""

    reason = "FEEDBACK_TOKEN_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "token: is not of this inference, or has expired: send the feedback_token that came with the answer"
        )


class TokensNotConfigured(PreconditionFailed):
    """There is no key to check tokens with."""

    reason = "FEEDBACK_TOKENS_NOT_CONFIGURED"

    def __init__(self, setting: str) -> None:
        super().__init__(f"feedback over HTTP is not configured: set {setting}, or submit it to feedback by gRPC")


class FeedbackOfAnother(PermissionDenied):
    """The token is that of the user who asked, and the reaction is another person's."""

    reason = "FEEDBACK_OF_ANOTHER"

    def __init__(self) -> None:
        super().__init__(
            "the reaction is not that of the user who asked: withdraw it by feedback's gRPC API, as it was submitted"
        )


def feedback_tokens(key: SecretStr | None, *, lifetime: timedelta = timedelta(0)) -> SignedTokens | None:
    """Return the tokens by which the user who asked reacts to an answer; None without a key."""
    if key is None:
        return None
    secret = key.get_secret_value().encode()
    return SignedTokens(purpose=_PURPOSE, key=secret, lifetime=lifetime, refusal=TokenRefused)


class FeedbackRpcs(Protocol):
    """The RPCs of feedback that the routes stand for."""

    async def __call__(
        self,
        caller: Caller,
        request: pb.SubmitFeedbackRequest | pb.GetFeedbackRequest | pb.WithdrawFeedbackRequest,
        /,
    ) -> feedback_pb2.Feedback:
        """Return the feedback that the RPC of the request answers with."""
        ...


class PreferenceBody(Strict):
    """The answer that `inference` is preferred to."""

    rejected: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_NAME)]
    tie: bool = False
    chosen_position: Annotated[int, Field(ge=0, le=2)] = 0


class FeedbackBody(Strict):
    """What is taken."""

    inference: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_NAME)]
    metric: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_NAME)]
    flag: bool | None = None
    number: float | None = None
    category: str | None = None
    comment: str | None = None
    correction: str | None = None
    preference: PreferenceBody | None = None
    token: Annotated[str, StringConstraints(max_length=_MAX_NAME)] = ""
    request_id: str = Field("", max_length=MAX_REQUEST_ID)

    @model_validator(mode="after")
    def _has_one_value(self) -> "FeedbackBody":
        if sum(getattr(self, name) is not None for name in _VALUES) != 1:
            message = f"send exactly one of {', '.join(_VALUES)}"
            raise ValueError(message)
        return self

    def message(self) -> pb.SubmitFeedbackRequest:
        """Return the request of the contract."""
        value: dict[str, Any] = {name: given for name in _VALUES if (given := getattr(self, name)) is not None}
        if self.correction is not None:
            part = content_pb2.Part(text=self.correction)
            output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part])
            value["correction"] = feedback_pb2.Correction(output=[output])
        if self.preference is not None:
            value["preference"] = feedback_pb2.Preference(chosen=self.inference, **self.preference.model_dump())
        feedback = feedback_pb2.Feedback(inference=self.inference, metric=self.metric, **value)
        return pb.SubmitFeedbackRequest(feedback=feedback, request_id=self.request_id)


@dataclass(frozen=True, kw_only=True)
class HttpFeedback:
    """Serves the routes, and makes the tokens that they take; the RPCs do the rest."""

    rpcs: FeedbackRpcs
    tokens: SignedTokens | None
    """None where there is no key to make them with."""
    setting: str
    """The setting of that key, for the error that it is missing."""
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

    def token_of(self, project: str, inference: str) -> str:
        """Return the token of an answer, "" without a key."""
        return self.tokens.issue(project, inference, now=self.clock.now()) if self.tokens else ""

    async def submit(self, http: Request) -> Response:
        """Record a reaction, and return its id."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_SUBMIT, has_token=True)
        body = body_of(FeedbackBody, await exchange.body(at_most=self.max_body_bytes))
        exchange.facts["inference"] = body.inference
        self._check(body.token, caller.project, body.inference)
        try:
            return _reply(await self.rpcs(caller, body.message()))
        except InvalidInput as error:
            raise _as_sent(error) from error

    async def withdraw(self, http: Request) -> Response:
        """Withdraw a reaction of the user who asked."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_WITHDRAW, has_token=True)
        request_id = http.query_params.get("request_id", "")
        check_request_id(request_id)
        tokens, token = self._tokens(), http.headers.get(_TOKEN_HEADER, "")
        if exchange.anonymous and not token:
            raise tokens.refusal()
        try:
            known = await self.rpcs(caller, pb.GetFeedbackRequest(id=http.path_params["id"]))
        except NotFound:
            if exchange.anonymous:
                raise tokens.refusal() from None
            raise
        exchange.facts["inference"] = known.inference
        self._check(token, caller.project, known.inference)
        withdrawn = known.state == feedback_pb2.FEEDBACK_STATE_WITHDRAWN
        if known.rater != _ASKER or not (known.counts or withdrawn):
            raise FeedbackOfAnother
        return _reply(await self.rpcs(caller, pb.WithdrawFeedbackRequest(id=known.id, request_id=request_id)))

    def _check(self, token: str, project: str, inference: str) -> None:
        self._tokens().check(token, project, inference, now=self.clock.now())

    def _tokens(self) -> SignedTokens:
        if self.tokens is None:
            raise TokensNotConfigured(self.setting)
        return self.tokens


def _reply(feedback: feedback_pb2.Feedback) -> Response:
    state = feedback_pb2.FeedbackState.Name(feedback.state).removeprefix("FEEDBACK_STATE_").lower()
    answer = {"id": feedback.id, "object": "feedback", "state": state}
    return JSONResponse(answer | {"inference": feedback.inference, "metric": feedback.metric})


def _as_sent(error: InvalidInput) -> InvalidInput:
    """Return the error at the fields of the body, which names an answer: at its target is only what is of no answer."""
    if not error.violations:
        return error
    named = [Violation(_field(each.field), each.description) for each in error.violations]
    return error.with_violations(_OF_CONVERSATIONS if each.field == "target" else each for each in named)


def _field(path: str) -> str:
    name = path.removeprefix("feedback.")
    return "correction" if name.startswith("correction") else name
