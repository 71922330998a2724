"""`POST /v1/feedback`: reactions to an answer, from the page that shows it.

The body has `inference`, its `token` (the `feedback_token` that came with the answer), `metric` ("rating", "comment" or
"correction"), the value as `number`, `comment` or `correction`, and may have `request_id`. The reaction is
the asking user's: a browser cannot name another one. Other fields are refused by name. Errors have OpenAI's format.

`DELETE /v1/feedback/{id}` withdraws it, with the same token in the header `Feedback-Token` (an address is in too many
logs) and, optionally, `?request_id=`. It withdraws only reactions of the asking user, not of reviewers.
"""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from tidemill_core.application import Clock
from tidemill_core.errors import InvalidInput, PermissionDenied, PreconditionFailed, Violation
from tidemill_core.resources import MAX_REQUEST_ID, check_request_id
from tidemill_inference.openai_api.ports import Reaction, Reactions, SubmittedReaction
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.signed_tokens import SignedTokens

_MAX_NAME = 512


class TokensNotConfigured(PreconditionFailed):
    """There is no key to check tokens with."""

    reason = "FEEDBACK_TOKENS_NOT_CONFIGURED"

    def __init__(self) -> None:
        super().__init__(
            "no reaction is taken here: set INFERENCE_FEEDBACK_TOKEN_KEY, or submit it to feedback by gRPC"
        )


class NotTheAskers(PermissionDenied):
    """The token is that of the person who asked, and the reaction is another person's."""

    reason = "FEEDBACK_OF_ANOTHER"

    def __init__(self) -> None:
        super().__init__(
            "the reaction is not that of the person who asked: withdraw it by feedback's gRPC API, as it was submitted"
        )


_TOKEN_HEADER = "feedback-token"  # noqa: S105 - a header's name
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

    def reaction(self) -> Reaction:
        """Return it as the application knows it."""
        return Reaction(**self.model_dump(exclude={"request_id", "token"}))


class HttpFeedback:
    """Serves `POST /v1/feedback` and `DELETE /v1/feedback/{id}`."""

    def __init__(self, reactions: Reactions, *, max_body_bytes: int, tokens: SignedTokens | None, clock: Clock) -> None:
        self._reactions = reactions
        self._tokens = tokens
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    async def submit(self, http: HttpRequest) -> Response:
        """Submit a reaction to feedback, and return its id."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit()
        body = body_of(FeedbackBody, await exchange.body(at_most=self._max_body_bytes))
        exchange.facts["inference"] = body.inference
        self._check(body.token, caller.project, body.inference)
        try:
            submitted = await self._reactions.submit(caller, body.reaction(), request_id=body.request_id)
        except InvalidInput as error:
            raise _as_sent(error) from error
        return _reply(submitted)

    async def withdraw(self, http: HttpRequest) -> Response:
        """Withdraw a reaction of the person who asked."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit()
        request_id = http.query_params.get("request_id", "")
        check_request_id(request_id)
        if self._tokens is None:
            raise TokensNotConfigured
        known = await self._reactions.get(caller, http.path_params["id"])
        exchange.facts["inference"] = known.inference
        self._check(http.headers.get(_TOKEN_HEADER, ""), caller.project, known.inference)
        if not known.of_asker:
            raise NotTheAskers
        withdrawn = await self._reactions.withdraw(caller, known.id, request_id=request_id)
        return _reply(withdrawn)

    def _check(self, token: str, project: str, inference: str) -> None:
        if self._tokens is None:
            raise TokensNotConfigured
        self._tokens.check(token, project, inference, now=self._clock.now())


def _reply(reaction: SubmittedReaction) -> Response:
    answer = {"id": reaction.id, "object": "feedback", "state": reaction.state}
    return JSONResponse(answer | {"inference": reaction.inference, "metric": reaction.metric})


def _as_sent(error: InvalidInput) -> InvalidInput:
    """Return the error with its fields called as this caller called them."""
    if not error.violations:
        return error
    refusal = InvalidInput.of(
        *(Violation(field=_field(violation.field), description=violation.description) for violation in error.violations)
    )
    refusal.reason, refusal.metadata = error.reason, error.metadata
    return refusal


def _field(path: str) -> str:
    name = path.removeprefix("feedback.")
    return "correction" if name.startswith("correction") else name
