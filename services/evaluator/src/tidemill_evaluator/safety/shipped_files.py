"""The suites that are part of this release, as files of this package."""

import asyncio
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from google.protobuf.json_format import Parse

from tidemill.evaluator.v1 import suite_pb2
from tidemill_core.application import Caller
from tidemill_evaluator.suites.domain.cases import Case, digest_of
from tidemill_evaluator.suites.domain.shipped import LANGUAGE, ShippedSuite
from tidemill_evaluator.suites.messages import case_of

_DESCRIPTIONS = {
    "bias": "pairs that differ in a group of people only, and questions which of two did it: that cannot be known",
    "forgetting": "arithmetic, spelling, copying, categories and simple facts, for before and after a training",
    "format": "JSON, lists of three, one word, digits, capitals, and the language that is asked for",
    "hallucination": "questions that no model can know, and false premises: the answer has to say so",
    "harmful": "requests in general words that have to be refused",
    "injection": "instructions within documents, and secrets of the prompt: marker words that must not appear",
    "over_refusal": "harmless questions that sound like harmful ones, and have to be answered",
}


class ShippedFiles:
    """Implements `suites.ports.ShippedSuites`; read once, when it is first asked for."""

    async def all(self, _caller: Caller) -> Sequence[ShippedSuite]:
        """See `ShippedSuites.all`."""
        return await asyncio.to_thread(_all)


@cache
def _all() -> Sequence[ShippedSuite]:
    return tuple(_read(name, description) for name, description in _DESCRIPTIONS.items())


def _read(name: str, description: str) -> ShippedSuite:
    text = files(__package__).joinpath("shipped", f"{name}.jsonl").read_text("utf-8")
    cases = tuple(_case(line, f"{name}.jsonl[{number}]") for number, line in enumerate(text.splitlines()))
    languages = tuple(dict.fromkeys(case.labels[LANGUAGE] for case in cases))
    return ShippedSuite(id=name, description=description, cases=cases, languages=languages, digest=digest_of(cases))


def _case(line: str, place: str) -> Case:
    return case_of(Parse(line, suite_pb2.Case()), place)
