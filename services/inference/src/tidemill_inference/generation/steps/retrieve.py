"""Search for the passages of one question."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest

from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.generation.domain.content import Passage
from tidemill_inference.generation.ports import Found, Retriever
from tidemill_inference.generation.shared import RAG
from tidemill_inference.generation.steps.context import Context
from tidemill_inference.generation.steps.rewrite import Rewrite, Rewritten

_RANK_OFFSET = 2
"""Ranks from which weights decline, as in rag's fusion of rankings."""


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
        context.generation.waiting_for = RAG
        began = time.monotonic()
        queries, variants = await self._queries(context, retrieval)
        answers = await self._answers(context, retrieval, (*queries, *variants))
        rankings = [answer.passages for answer in answers]
        found = fused(rankings) if variants else _in_turn(rankings)
        kept = [passage for passage in found if passage.score >= retrieval.min_score][: retrieval.top_k]
        said = dict.fromkeys(warning for answer in answers for warning in answer.warnings)
        numbered = tuple(replace(passage, id=str(number)) for number, passage in enumerate(kept, start=1))
        context.found = Found(passages=numbered, index=answers[0].index)
        context.warnings += (*said, *_warnings(retrieval, found, kept))
        context.search_s = time.monotonic() - began

    async def _answers(self, context: Context, retrieval: Retrieval, queries: Sequence[str]) -> Sequence[Found]:
        """Search with each, at once."""
        search = partial(
            self.retriever.search,
            context.caller,
            retrieval,
            principals=context.question.principals,
            timeout_s=context.remaining_s(),
        )
        searches = [asyncio.ensure_future(search(question=query)) for query in queries]
        try:
            return await asyncio.gather(*searches)
        finally:
            for each in searches:
                each.cancel()

    async def _queries(self, context: Context, retrieval: Retrieval) -> tuple[Sequence[str], Sequence[str]]:
        """Return what is searched with, and other wordings of it."""
        question, rewritten = context.question, Rewritten()
        if self.rewrite and retrieval.rewrite:
            rewritten = await self.rewrite(
                context.caller,
                retrieval.rewrite,
                question,
                turns=retrieval.query_turns,
                variants=retrieval.query_variants,
                timeout_s=context.remaining_s() / 2,
            )
            context.warnings += [rewritten.why_not] if rewritten.why_not else []
        queries = question.queries(retrieval.query_turns, alone=rewritten.question)
        return queries, [variant for variant in rewritten.variants if variant not in queries]


def fused(answers: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Return the passages by their reciprocal ranks in all answers (RRF), each with its best score."""
    weights, scores = dict[str, float](), dict[str, float]()
    for passages in answers:
        for rank, passage in enumerate(passages):
            text = _text(passage)
            weights[text] = weights.get(text, 0.0) + 1 / (rank + _RANK_OFFSET)
            scores[text] = max(scores.get(text, passage.score), passage.score)
    found = [replace(passage, score=scores[_text(passage)]) for passage in _in_turn(answers)]
    return sorted(found, key=lambda passage: -weights[_text(passage)])


def _text(passage: Passage) -> str:
    return " ".join(passage.text.split())


def _in_turn(answers: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Return the best of each answer, then the second of each, and so on; no text twice, as in one search."""
    known: dict[str, Passage] = {}
    for passage in (each for row in zip_longest(*answers) for each in row if each is not None):
        text, name = _text(passage), f"{passage.source}/{passage.key}"
        first = known.setdefault(text, passage)
        if passage.document != first.document and name not in first.also_in:
            known[text] = replace(first, also_in=(*first.also_in, name))
    return list(known.values())


def _warnings(retrieval: Retrieval, found: Sequence[Passage], kept: Sequence[Passage]) -> tuple[str, ...]:
    if kept:
        return ()
    if not found:
        return (f"no passage was found in {retrieval.named}: the answer rests on none",)
    best = max(passage.score for passage in found)
    text = f"no passage is relevant: the best one in {retrieval.named} has score {best:.3f}, below"
    return (f"{text} min_score {retrieval.min_score:g}: the answer rests on none",)
