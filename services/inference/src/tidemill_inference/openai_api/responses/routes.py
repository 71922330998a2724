"""Stored responses: `/v1/responses/{id}`, shown to whom they are of, and erased by the RPC EraseInference."""

from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_inference.generation.domain.errors import InferenceNotFound, ResponseNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.openai_api.pages import Asked as AskedPage
from tidemill_inference.openai_api.pages import listed
from tidemill_inference.openai_api.responses.ids import inference_id
from tidemill_inference.openai_api.responses.objects import Asked, input_items, response_object
from tidemill_kit.http.errors import shown
from tidemill_kit.http.exchange import Exchange
from tidemill_kit.http.rpc import HttpRpcs

_SERVICE = f"/{pb.DESCRIPTOR.package}.InferenceService"
_GET, _ERASE = f"{_SERVICE}/GetInference", f"{_SERVICE}/EraseInference"
_DEFAULT_LIMIT = 20
_INCLUDED = "reasoning.encrypted_content"
"""What a model thought is shown as it is."""
_OF_LISTS = {"after", "limit", "order"}


class Reading(Protocol):
    """The use case `ReadInferences`."""

    async def response(self, caller: Caller, inference_id: str) -> Inference:
        """See `ReadInferences.response`."""
        ...


class HttpResponses:
    """Serves stored responses; `issue` makes the token by which reactions to an answer are accepted."""

    def __init__(self, reading: Reading, rpcs: HttpRpcs, *, issue: Callable[[str, str], str]) -> None:
        self._reading = reading
        self._rpcs = rpcs
        self._issue = issue

    def routes(self, prefix: str) -> list[Route]:
        """Return what is served below a prefix."""
        return [
            Route(f"{prefix}/responses/{{id}}", self.get, methods=["GET"]),
            Route(f"{prefix}/responses/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{prefix}/responses/{{id}}/input_items", self.list_input, methods=["GET"]),
        ]

    async def get(self, http: Request) -> Response:
        """Return one response as it is now."""
        _check_query(http, known=set())
        found = await self._found(http, await self._rpcs.admit(Exchange.of(http.scope), _GET))
        token = self._issue(found.project, found.id)
        return JSONResponse(response_object(found, Asked.recorded(found), feedback_token=token))

    async def list_input(self, http: Request) -> Response:
        """Return a page of what was sent with the request of a response, newest first."""
        _check_query(http, known=_OF_LISTS)
        page = AskedPage.of(http, default=_DEFAULT_LIMIT)
        found = await self._found(http, await self._rpcs.admit(Exchange.of(http.scope), _GET))
        items = input_items(found, Asked.recorded(found))
        if page.newest_first:
            items.reverse()
        if page.after:
            ids = [item["id"] for item in items]
            if page.after not in ids:
                raise InvalidInput.at(field="after", text=f"is {shown(page.after)}, which is none of these items")
            items = items[ids.index(page.after) + 1 :]
        return JSONResponse(listed(items[: page.limit], more=len(items) > page.limit))

    async def delete(self, http: Request) -> Response:
        """Erase one response; the counts of its inference stay."""
        exchange = Exchange.of(http.scope)
        caller = await self._rpcs.admit(exchange, _ERASE)
        found = await self._found(http, caller)
        try:
            await self._rpcs.call(_ERASE, pb.EraseInferenceRequest(id=found.id), caller=caller, exchange=exchange)
        except InferenceNotFound as error:
            raise ResponseNotFound(_named(http)) from error
        return JSONResponse({"id": _named(http), "object": "response", "deleted": True})

    async def _found(self, http: Request, caller: Caller) -> Inference:
        try:
            return await self._reading.response(caller, inference_id(_named(http)))
        except ResponseNotFound as error:
            raise ResponseNotFound(_named(http)) from error


def _named(http: Request) -> str:
    return shown(str(http.path_params["id"]))


def _check_query(http: Request, *, known: set[str]) -> None:
    """Refuse what is asked for and cannot be given."""
    for name, value in http.query_params.multi_items():
        if name in known or (name.removesuffix("[]") == "include" and value == _INCLUDED) or value in ("", "false"):
            continue
        raise InvalidInput.at(field=shown(name), text=f"is {shown(value)}, which is not supported: leave it out")
