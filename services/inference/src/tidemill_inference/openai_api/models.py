"""`GET /v1/models` and `/v1/models/{id}`: the project's deployments, each with its context length.

There is no one name for the context length that clients read: OpenRouter's is `context_length`, vLLM's `max_model_len`,
Groq's `context_window`, llama.cpp's `meta.n_ctx_train`. All are sent, and none where the length is not known. What the
live model can be asked for is `capabilities`, as Ollama has it, and `supported_parameters`, as OpenRouter does.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidemill.inference.v1 import served_model_service_pb2 as pb
from tidemill_core.application import PageRequest
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_inference.engines.ports import Capability
from tidemill_inference.served_models.domain.served_model import ServedModel
from tidemill_inference.served_models.ports import ServedModels
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.exchange import Exchange

_PARAMETERS_OF_ALL = ("max_tokens", "temperature", "top_p", "seed", "stop")
_PARAMETERS = {
    Capability.TOOLS: ("tools", "tool_choice", "parallel_tool_calls"),
    Capability.JSON_SCHEMA: ("response_format", "structured_outputs"),
    Capability.LOGPROBS: ("logprobs", "top_logprobs"),
    Capability.CANDIDATES: ("n",),
    Capability.PENALTIES: ("presence_penalty", "frequency_penalty"),
    Capability.LOGIT_BIAS: ("logit_bias",),
}
_LIST = policy_of(pb.DESCRIPTOR, "ServedModelService/ListServedModels")
_GET = policy_of(pb.DESCRIPTOR, "ServedModelService/GetServedModel")


class HttpModels:
    """Serves the list, and each of it."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def routes(self, prefix: str) -> list[Route]:
        """Return what is served below a prefix."""
        return [
            Route(f"{prefix}/models", self.list, methods=["GET"]),
            Route(f"{prefix}/models/{{model}}", self.get, methods=["GET"]),
        ]

    async def list(self, http: Request) -> Response:
        """Return all deployments of the project: the API has no pages of models."""
        caller = await Exchange.of(http.scope).admit(_LIST)
        models, token = list[ServedModel](), ""
        while True:
            page = await self._models.list(caller, page=PageRequest(size=MAX_PAGE_SIZE, token=token))
            models += page.items
            token = page.next_token
            if not token:
                return JSONResponse({"object": "list", "data": [model_object(each) for each in models]})

    async def get(self, http: Request) -> Response:
        """Return one deployment."""
        caller = await Exchange.of(http.scope).admit(_GET)
        return JSONResponse(model_object(await self._models.get(caller, http.path_params["model"])))


def model_object(model: ServedModel) -> dict[str, Any]:
    """Return a deployment as a model."""
    found: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": int(model.create_time.timestamp()) if model.create_time else 0,
        "owned_by": model.project,
        "root": model.model,
    }
    if length := model.context_tokens:
        found |= dict.fromkeys(("context_length", "context_window", "max_model_len"), length)
        found["meta"] = {"n_ctx_train": length}
    if (most := model.max_output_tokens) is not None:
        found["max_output_tokens"] = most
    if (able := model.capabilities) is not None:
        found["capabilities"] = ["completion", *(each.name.lower() for each in Capability if each in able)]
        more = (name for each in Capability if each in able for name in _PARAMETERS[each])
        found["supported_parameters"] = [*_PARAMETERS_OF_ALL, *more]
    return found
