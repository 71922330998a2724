"""The client of a vLLM server: that of OpenAI's API, for completions of tokens, and for what only vLLM has."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_inference.engines.endpoint import ConnectionFailed, Refused
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.openai_requests import sampling_of
from tidemill_inference.engines.ports import Prompt

_GAUGE = re.compile(r"^vllm:(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_BEGAN = re.compile(r"^process_start_time_seconds (\S+)$", re.MULTILINE)
_ADMIN_S = 60.0
_HEALTH_S = 5.0
_ID_PREFIX = "token_id:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded(Prompt):
    """A prompt as tokens; `grammar` is llguidance's."""

    tokens: Sequence[int]
    max_tokens: int
    grammar: str | None = None
    special: bool = False
    """Whether special tokens are text of the answer, as in calls of tools."""
    salt: str = ""
    """Who shares prompts in the cache: how fast an answer begins says nothing of another project's prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that a server has; `parent` is the base of an adapter."""

    id: str
    parent: str
    context_tokens: int


class VllmClient(OpenAiEngine):
    """Asks for one model of a server.

    Prompts are sent as tokens: vLLM's own chat completions would read what people wrote as special tokens, too.
    """

    _path = "/v1/completions"

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        assert isinstance(prompt, Encoded)  # noqa: S101 - by VllmEngine
        sampling = prompt.sampling
        asked: dict[str, Any] = {"prompt": list(prompt.tokens)}
        if prompt.candidates > 1 and sampling.temperature == 0:  # which vLLM refuses: they are all the same
            asked["prompt"] = [asked["prompt"]] * prompt.candidates
        elif prompt.candidates > 1:
            asked["n"] = prompt.candidates
        if sampling.logprobs:
            asked |= {"logprobs": sampling.top_logprobs or 0, "return_tokens_as_token_ids": True}
        return {
            "model": self._model,
            "max_tokens": prompt.max_tokens,
            "add_special_tokens": False,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling_of(sampling),
            **asked,
            **({"structured_outputs": {"grammar": as_lark(prompt.grammar)}} if prompt.grammar else {}),
            **({"skip_special_tokens": False, "spaces_between_special_tokens": False} if prompt.special else {}),
            **({"cache_salt": prompt.salt} if prompt.salt else {}),
        }

    @staticmethod
    def _as_chat(said: object) -> object:
        if not isinstance(said, dict):
            return said
        choices = [
            {
                "index": each.get("index"),
                "delta": {"content": each.get("text")},
                "finish_reason": each.get("finish_reason"),
                "logprobs": _logprobs(each.get("logprobs")),
            }
            for each in said.get("choices") or ()
        ]
        return {"choices": choices, "usage": said.get("usage")}

    async def load_adapter(self, name: str, folder: str) -> None:
        """Have the server read a LoRA adapter, unless it has it.

        Not in place: what was loaded so is read from its files anew for every step that it is part of (vLLM 0.32).

        Raises:
            InvalidInput, PreconditionFailed: it cannot be served; the server's log says why.
            DependencyUnavailable: the server does not answer.

        """
        if await self.has_adapter(name):
            return
        with self._translated():
            try:
                await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder})
            except Refused:
                if not await self.has_adapter(name):  # else another replica was first
                    raise

    async def unload_adapter(self, name: str) -> None:
        """Have the server forget a LoRA adapter; raises as `load_adapter`."""
        with self._translated():
            await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def has_adapter(self, name: str) -> bool:
        """Return whether the server has a LoRA adapter; raises as `load_adapter`."""
        return any(each.id == name for each in await self.models())

    async def models(self) -> Sequence[ServedModel]:
        """Return what the server has; raises as `load_adapter`."""
        with self._translated():
            async with asyncio.timeout(self._stall_s):
                listed: Any = json.loads(await self._endpoint.get("/v1/models"))
            return [
                ServedModel(
                    id=str(each["id"]),
                    parent=str(each.get("parent") or ""),
                    context_tokens=int(each.get("max_model_len") or 0),
                )
                for each in listed["data"]
            ]

    async def version(self) -> str:
        """Return the server's version; raises as `load_adapter`."""
        with self._translated():
            async with asyncio.timeout(self._stall_s):
                said: Any = json.loads(await self._endpoint.get("/version"))
            return str(said["version"])

    async def healthy(self) -> bool:
        """Return whether the server answers, and what computes in it runs."""
        try:
            async with asyncio.timeout(_HEALTH_S):
                await self._endpoint.get("/health")
        except (TimeoutError, ConnectionFailed, Refused):
            return False
        return True

    async def gauges(self) -> Mapping[str, float]:
        """Return the server's own metrics by name, summed over its engines; raises as `load_adapter`."""
        with self._translated():
            found: dict[str, float] = {}
            for name, value in _GAUGE.findall(await self._metrics()):
                found[name] = found.get(name, 0.0) + float(value)
            return found

    async def began(self) -> str:
        """Return when its process began, "" where it does not say so; raises as `load_adapter`."""
        with self._translated():
            said = _BEGAN.search(await self._metrics())
            return said[1] if said else ""

    async def _metrics(self) -> str:
        async with asyncio.timeout(self._stall_s):
            return (await self._endpoint.get("/metrics")).decode(errors="replace")

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        async with asyncio.timeout(_ADMIN_S):
            answer = await self._endpoint.post(path, body)
            await answer.leave(ended=True)

    def _unavailable(
        self, what: str, *, kind: type[DependencyUnavailable] = DependencyUnavailable
    ) -> DependencyUnavailable:
        message = f"vLLM {what} for model {self._model}: inference's log and vLLM's own say more"
        return kind(message, dependency="vllm", blame=Blame.VARIANT, model=self._model)


def _logprobs(given: Mapping[str, Any] | None) -> object:
    """Return them as chats have them; a token's text is its id, which `VllmEngine` knows the text of."""
    if not given:
        return None
    columns = (given["tokens"], given["token_logprobs"], given["top_logprobs"] or [None] * len(given["tokens"]))
    return {
        "content": [
            {
                "token": str(token_of(token)),
                "logprob": logprob,
                "top_logprobs": [
                    {"token": str(token_of(other)), "logprob": value} for other, value in (top or {}).items()
                ],
            }
            for token, logprob, top in zip(*columns, strict=True)
        ]
    }


def as_lark(grammar: str) -> str:
    """Return a grammar whose schemas are named apart as one text, which is what vLLM takes."""
    first, *schemas = json.loads(grammar)["grammars"]
    text = re.sub(r"@(\w+)", r"\1", first["lark_grammar"])
    rules = [f"{each['name']}: %json {json.dumps(each['json_schema'])}" for each in schemas]
    return "\n".join([text, *rules])


def token_of(text: str) -> int:
    """Return the id of a token that `_logprobs` has.

    Raises:
        ValueError: it is none.

    """
    return int(text.removeprefix(_ID_PREFIX))
