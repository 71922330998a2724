"""Which questions of a dataset version have no document near them, by the searches of a collection."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Any

from rich.console import Group, RenderableType

from tidemill_cli.answerability import Share, best_scores
from tidemill_cli.html_pages import html_table
from tidemill_cli.output import card, table
from tidemill_client.connection import Connection
from tidemill_client.datasets import PARTS, Datasets
from tidemill_client.declared import Collections
from tidemill_client.judged_questions import JudgedQuestion
from tidemill_client.retrieval_evaluations import ranking, search_settings
from tidemill_core.characters import clean, without_ignorable
from tidemill_core.errors import InvalidInput

MAX_SHOWN = 20
"""Examples that are named, those with the lowest scores."""
_QUERY_CHARS = 4000
_NO_VARIANCE = 1e-12
_HEADS = ("example without documents near", "of", "best score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """How near the documents of a collection are to the questions of a version."""

    version: str
    share: Share
    """Of the questions whose best passage scores lower than `near`."""
    without: tuple[tuple[str, float], ...]
    """Ids of examples and the score of their best passage, the lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDocuments:
    """The questions of one version, or of two, against a collection."""

    collection: str
    near: float
    sides: tuple[Nearness, ...]
    shared: Share
    """Of the questions that both sides have."""

    @property
    def p_value(self) -> float | None:
        """Return the p-value of both shares being alike; None of one side."""
        if len(self.sides) < 2:  # noqa: PLR2004 - one has no other to be compared with
            return None
        return p_value_of(self.sides[0].share, self.sides[1].share, self.shared)

    @property
    def data(self) -> dict[str, Any]:
        """Return it as JSON values."""
        sides = [
            {
                "version": side.version,
                "questions": side.share.of,
                "without_documents": side.share.count,
                "share": side.share.value,
                "interval": list(side.share.interval),
                "examples": [{"id": name, "best_score": best} for name, best in side.without],
            }
            for side in self.sides
        ]
        shared = {"shared_questions": self.shared.of} if len(sides) > 1 else {}
        return {
            "collection": self.collection,
            "near_score": self.near,
            "sides": sides,
            **shared,
            "p_value": self.p_value,
        }

    @property
    def tables(self) -> RenderableType:
        """Return it for a terminal."""
        return Group(card(self._facts()), "", table(_HEADS, list(self._rows())))

    @property
    def html(self) -> str:
        """Return it as a part of a page."""
        facts = list(self._facts().items())
        tables = (*html_table(("", ""), facts), *html_table(_HEADS, self._rows()))
        return "".join(("<h2>Questions without documents near them</h2>\n", *tables))

    def _facts(self) -> dict[str, str]:
        facts = {"collection": f"{self.collection}, near from a score of {self.near:g} on"}
        facts |= {f"without documents, {side.version}": str(side.share) for side in self.sides}
        return facts if self.p_value is None else {**facts, "p of no difference": f"{self.p_value:.3g}"}

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for side in self.sides:
            for name, best in side.without:
                yield name, side.version, f"{best:.3f}"


async def near_documents(
    connection: Connection, versions: Sequence[str], collection: str, *, near: float, max_questions: int
) -> NearDocuments:
    """Search with a sample of the questions of each version, as the credential may read, and leave nothing out.

    `near` 0 is the collection's `answerable_above`, or else its `min_score`. Scores are a reranker's where the
    collection has one.

    Raises:
        InvalidInput: the collection has neither, and `near` is 0.

    """
    found = await Collections(connection).get(collection)
    live = ranking(found)
    near = near or live.answerable_above or live.min_score
    if not near:
        text = (
            f"is not set, and {collection} has neither answerable_above nor min_score: name a score such as 0.4, or "
            f"have `tidemill collections tune {collection}` find from which one on a passage answers"
        )
        raise InvalidInput.at(field="--near", text=text)
    settings = search_settings(found) | {"min_score": 0.0, "identifiers_required": False}
    sides, scores, shared = list[Nearness](), dict[tuple[str, str], float](), Share(count=0, of=0)
    for version in versions:
        asked = {(each.id, each.text): each for each in await _questions(connection, version, max_questions)}
        both = [scores[each] for each in asked if each in scores]
        shared = Share(count=sum(score < near for score in both), of=len(both))
        new = [question for each, question in asked.items() if each not in scores]
        best = await best_scores(connection, collection, settings, new)
        scores |= zip(((each.id, each.text) for each in new), best, strict=True)
        scored = ((name, scores[name, text]) for name, text in asked)
        below = sorted(((name, score) for name, score in scored if score < near), key=lambda each: (each[1], each[0]))
        share = Share(count=len(below), of=len(asked))
        sides.append(Nearness(version=version, share=share, without=tuple(below[:MAX_SHOWN])))
    return NearDocuments(collection=collection, near=near, sides=tuple(sides), shared=shared)


async def _questions(connection: Connection, version: str, limit: int) -> list[JudgedQuestion]:
    """Return the questions of the examples whose ids have the lowest sha256: the same sample each time."""
    kept = list[tuple[int, str, str]]()
    for part in PARTS:
        left = b""
        async for piece in Datasets(connection).export(version, part=part):
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                _keep(kept, line, limit)
        _keep(kept, left, limit)
    return [JudgedQuestion(id=name, text=text) for _, name, text in sorted(kept, reverse=True)]


def _keep(kept: list[tuple[int, str, str]], line: bytes, limit: int) -> None:
    if not line.strip():
        return
    example = json.loads(line)
    name, question = str(example.get("id", "")), str(example.get("question", ""))[:_QUERY_CHARS]
    if not without_ignorable(clean(question)).strip():
        return
    each = -int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]), name, question
    if len(kept) < limit:
        heappush(kept, each)
    else:
        heappushpop(kept, each)


def p_value_of(one: Share, other: Share, shared: Share) -> float:
    """Return that of two shares being alike, some of whose questions are the same; 1 where nothing can differ.

    It is the z-test of partially overlapping samples (Derrick and others, Comparing two proportions, 2015), in which
    what both have is alike. Without any it is Pearson's chi-square; of a version and one with more questions it
    compares those of the first with those that were added.
    """
    sizes = max(1, one.of), max(1, other.of)
    pooled = (one.count + other.count - shared.count) / max(1, one.of + other.of - shared.of)
    variance = pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1] - 2 * shared.of / (sizes[0] * sizes[1]))
    if variance <= _NO_VARIANCE:
        return 1.0
    return math.erfc(abs(one.value - other.value) / math.sqrt(2 * variance))
