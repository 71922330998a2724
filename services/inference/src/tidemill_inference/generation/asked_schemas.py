"""JSON Schemas of tools and output formats, checked before anything is made of them: draft 2020-12.

They are a caller's. A check may cost a second of the processor, so that it is made in a process with limits, of which a
project has its share, and what was found is kept by the schema's digest.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cachetools import LRUCache

from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QuestionLimits
from tidemill_inference.generation.domain.question import Question
from tidemill_kit.texts.json_schemas import all_wrong_with
from tidemill_kit.workers.bounded_processes import BoundedProcesses, WorkEndedError

IMPORTS = (all_wrong_with.__module__,)
"""What checking needs, for its processes."""
_TOGETHER = 16 * 1024
"""Characters of schemas that are checked in one go."""
_MAX_KEPT = 4096
_TOGETHER_TOO_LONG = "brings the schemas of this question to {} characters; send at most {}"


class AskedSchemas:
    """Checks the schemas of questions."""

    def __init__(self, processes: BoundedProcesses | None = None, *, limits: QuestionLimits = DEFAULT_LIMITS) -> None:
        """Without `processes` a thread does it, which has no limits."""
        self._limits = limits
        self._processes = processes
        self._found: LRUCache[bytes, str] = LRUCache(_MAX_KEPT)

    async def check(self, project: str, question: Question) -> None:
        """Refuse schemas that are none.

        Raises:
            QuestionRefused: names the schema, the place in it and what is wrong there.
            RateLimited: too many checks of the project wait already.
            DependencyUnavailable: a process for it died.

        """
        total, asked = 0, list(_schemas(question))
        for field, text in asked:
            total += len(text)
            self._limits.check("schema_characters", len(text), where=field, what="has {} characters; send at most {}")
            self._limits.check("all_schema_characters", total, where=field, what=_TOGETHER_TOO_LONG)
        found = await self._wrong(project, dict.fromkeys(text for _, text in asked))
        for field, text in asked:
            if found[text]:
                raise QuestionRefused(field=field, why=found[text])

    async def _wrong(self, project: str, texts: Iterable[str]) -> Mapping[str, str]:
        """Return what is wrong with each schema, "" where nothing is."""
        keys = {text: hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts}
        found = {text: self._found[key] for text, key in keys.items() if key in self._found}
        for some in _some_together([text for text in keys if text not in found]):
            for text, wrong in zip(some, await self._checked(project, some), strict=True):
                found[text] = self._found[keys[text]] = wrong
        return found

    async def _checked(self, project: str, texts: Sequence[str]) -> Sequence[str]:
        if self._processes is None:
            return await asyncio.to_thread(all_wrong_with, texts)
        try:
            return await self._processes.run(project, all_wrong_with, texts)
        except WorkEndedError as ended:
            if ended.cause in {"wall", "died"}:
                message = f"checking a schema {ended.why}"
                raise DependencyUnavailable(message, dependency="prompts", blame=Blame.CALLER) from ended
            return [f"cannot be checked: it {ended.why}"] * len(texts)


def _some_together(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield schemas in groups that take a bounded time."""
    some: list[str] = []
    for text in texts:
        if some and sum(map(len, some)) + len(text) > _TOGETHER:
            yield some
            some = []
        some.append(text)
    if some:
        yield some


def _schemas(question: Question) -> Iterator[tuple[str, str]]:
    for number, tool in enumerate(question.tools):
        if tool.parameters_json:
            yield f"tools[{number}].parameters_json", tool.parameters_json
    if question.output is not None and question.output.schema_json:
        yield "output_format.schema_json", question.output.schema_json
