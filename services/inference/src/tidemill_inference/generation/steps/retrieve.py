"""Search for the passages of one question."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.ports import Found, Retriever
from tidemill_inference.generation.steps.context import Context
from tidemill_inference.generation.steps.rewrite import Rewrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve:
    """Searches with the last message alone, and with the user's messages before it as well.

    Where a model rewrites questions, what it makes of one stands for the last message alone.
    """

    retriever: Retriever
    rewrite: Rewrite | None = None

    async def __call__(self, context: Context) -> None:
        """Find the passages, unless they were given.

        Raises:
            PreconditionFailed: the collection is gone, or has no live index yet.
            DependencyUnavailable: rag does not answer in time.

        """
        question, retrieval = context.question, context.step.retrieval
        if question.passages is not None:
            context.found = Found(passages=question.passages, index=0)
            return
        if retrieval is None:
            return
        context.generation.waiting_for = "rag"
        began = time.monotonic()
        answers = [
            await self.retriever.search(
                context.caller,
                retrieval,
                question=query,
                principals=question.principals,
                timeout_s=context.remaining_s(),
            )
            for query in await self._queries(context, retrieval)
        ]
        found = _in_turn([answer.passages for answer in answers])
        kept = [passage for passage in found if passage.score >= retrieval.min_score][: retrieval.top_k]
        said = dict.fromkeys(warning for answer in answers for warning in answer.warnings)
        numbered = tuple(replace(passage, id=str(number)) for number, passage in enumerate(kept, start=1))
        context.found = Found(passages=numbered, index=answers[0].index)
        context.warnings += (*said, *_warnings(retrieval, found, kept))
        context.search_s = time.monotonic() - began

    async def _queries(self, context: Context, retrieval: Retrieval) -> Sequence[str]:
        question = context.question
        if self.rewrite and retrieval.rewrite:
            rewritten, why_not = await self.rewrite(
                context.caller,
                retrieval.rewrite,
                question,
                turns=retrieval.query_turns,
                timeout_s=context.remaining_s() / 2,
            )
            if rewritten:
                return question.queries(retrieval.query_turns, alone=rewritten)
            context.warnings += [why_not] if why_not else []
        return question.queries(retrieval.query_turns)


def _in_turn(answers: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Return the best of each answer, then the second of each, and so on; no text twice, as in one search."""
    known: dict[str, Passage] = {}
    for passage in (each for row in zip_longest(*answers) for each in row if each is not None):
        text, name = " ".join(passage.text.split()), f"{passage.source}/{passage.key}"
        first = known.setdefault(text, passage)
        if passage.document != first.document and name not in first.also_in:
            known[text] = replace(first, also_in=(*first.also_in, name))
    return list(known.values())


def _warnings(retrieval: Retrieval, found: Sequence[Passage], kept: Sequence[Passage]) -> tuple[str, ...]:
    if kept:
        return ()
    if not found:
        return (f"no passage was found in collection {retrieval.collection}: the answer rests on none",)
    best = max(passage.score for passage in found)
    text = f"no passage is relevant: the best one in collection {retrieval.collection} has score {best:.3f}, below"
    return (f"{text} min_score {retrieval.min_score:g}: the answer rests on none",)
