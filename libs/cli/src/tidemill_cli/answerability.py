"""Finds from which score on a collection's best passage answers, on judged questions and on unanswerable ones."""

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from google.protobuf.json_format import ParseDict

from tidemill.rag.v1.collection_pb2 import SearchSettings
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_cli.tuning import MAX_CONCURRENT, Settings
from tidemill_client.connection import Connection
from tidemill_client.judged_questions import JudgedQuestion
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.intervals import share_interval

READ = 10
"""Passages of which the best one decides, as in rag."""
MIN_UNANSWERABLE = 10
ATTEMPTS, PAUSE_S = 4, 2.0
"""How often a search is made whose passages come without a reranker's scores, and how long to wait between."""
MIN_GAIN = 5
"""So many unanswerable questions that are refused anew, where none changes otherwise, are not so by chance (sign test,
one-sided, 0.05)."""
NOTHING_FOUND = 0.0
"""The score of a question that finds no passage."""
_FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The score of the best passage that a question finds, and whether the collection answers it."""

    id: str
    best: float
    answerable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of some questions, with its 95 % interval (Wilson, Probable Inference, 1927)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The interval."""
        if not self.of:
            return 0.0, 1.0
        return share_interval(self.value, self.of)

    def __str__(self) -> str:
        """Return it for people."""
        low, high = self.interval
        return f"{self.value:.2f} [{low:.2f}, {high:.2f}] of {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The score from which on the best passage answers; both shares are of questions that it had not seen."""

    above: float
    refused: Share
    """Of the unanswerable questions."""
    false_refusals: Share
    """Of the answerable ones."""
    identifiers_required: bool = False
    """Questions that name an identifier which no passage has find nothing, too."""

    @property
    def separates(self) -> bool:
        """Return whether unanswerable questions are refused more often than others, beyond chance."""
        return self.refused.interval[0] > self.false_refusals.interval[1]

    @property
    def settings(self) -> Settings:
        """Return what refuses questions, as settings of a search."""
        return {"answerable_above": self.above} | ({"identifiers_required": True} if self.identifiers_required else {})

    def gains_on(self, other: "Calibration") -> bool:
        """Return whether it refuses more unanswerable questions, beyond chance, and no more of the answerable ones."""
        more = self.refused.count - other.refused.count
        return more >= MIN_GAIN and self.false_refusals.count <= other.false_refusals.count


def calibrated(observations: Sequence[Observation], *, false_refusals: float) -> Calibration:
    """Return the highest threshold that refuses at most this share of the answerable questions.

    Each of five parts of the questions is judged by the threshold of the others; the result is that of all.
    """
    counts = {True: 0, False: 0}
    folds = _folds(observations)
    for number, held_out in enumerate(folds):
        seen = [each for place, fold in enumerate(folds) if place != number for each in fold]
        above = _threshold(seen, false_refusals)
        for each in held_out:
            counts[each.answerable] += each.best < above
    answerable = sum(each.answerable for each in observations)
    return Calibration(
        above=_threshold(observations, false_refusals),
        refused=Share(count=counts[False], of=len(observations) - answerable),
        false_refusals=Share(count=counts[True], of=answerable),
    )


async def calibrate(
    connection: Connection,
    collection: str,
    settings: Settings,
    questions: Sequence[JudgedQuestion],
    *,
    false_refusals: float,
) -> Calibration:
    """Return what refuses unanswerable questions: a score, and `identifiers_required` where that refuses more.

    Where an answerable question would find nothing for its identifier, it is not required.

    Raises as `observed`.
    """
    found = await observed(connection, collection, settings, questions)
    by_score = calibrated(found, false_refusals=false_refusals)
    if settings.get("identifiers_required"):
        return replace(by_score, identifiers_required=True)
    with_digits = [each for each in questions if any(character.isdigit() for character in each.text)]
    required = settings | {"identifiers_required": True}
    again = await observed(connection, collection, required, with_digits)
    unnamed = {each.id for each in again if each.best == NOTHING_FOUND}
    changed = [
        replace(each, best=-math.inf) if each.id in unnamed and each.best != NOTHING_FOUND else each for each in found
    ]
    if any(each.answerable and each.best == -math.inf for each in changed):
        return by_score
    # The threshold is that of the answerable questions, which are as they were: questions are only refused anew.
    both = replace(calibrated(changed, false_refusals=false_refusals), identifiers_required=True)
    return both if both.gains_on(by_score) else by_score


async def observed(
    connection: Connection,
    collection: str,
    settings: Settings,
    questions: Sequence[JudgedQuestion],
    *,
    pause_s: float = PAUSE_S,
) -> list[Observation]:
    """Search with each question, judged or unanswerable, without leaving anything out.

    Raises:
        DependencyUnavailable: the collection has a reranker, and passages come without its scores.

    """
    chosen = [each for each in questions if each.is_judged or each.unanswerable]
    best = await best_scores(connection, collection, settings, chosen, pause_s=pause_s)
    return [
        Observation(id=each.id, best=score, answerable=each.is_judged) for each, score in zip(chosen, best, strict=True)
    ]


async def best_scores(
    connection: Connection,
    collection: str,
    settings: Settings,
    questions: Sequence[JudgedQuestion],
    *,
    pause_s: float = PAUSE_S,
) -> list[float]:
    """Return the score of the best passage of each question, however low; raises as `observed`."""
    search = ParseDict(settings | {"answerable_above": 0.0, "diversity": 0.0, "neighbours": 0}, SearchSettings())
    permits = asyncio.Semaphore(MAX_CONCURRENT)

    async def best(question: JudgedQuestion) -> float:
        request = SearchRequest(
            collection=collection, query=question.text, top_k=READ, principals=question.principals, settings=search
        )
        async with permits:
            return await _best(connection, request, pause_s=pause_s)

    return list(await asyncio.gather(*(best(each) for each in questions)))


async def _best(connection: Connection, request: SearchRequest, *, pause_s: float) -> float:
    """Return the score of the best passage: of those that the reranker read, where there is one."""
    for attempt in range(ATTEMPTS):
        if attempt:  # the reranker may be loading
            await asyncio.sleep(pause_s)
        passages = (await connection.retrieval.Search(request)).passages
        if not request.settings.HasField("rerank"):
            return max((each.score for each in passages), default=NOTHING_FOUND)
        read = [each.rerank_score for each in passages if each.HasField("rerank_score")]
        if read or not passages:
            return max(read, default=NOTHING_FOUND)
    message = (
        f"collection {request.collection} is searched without the scores of its reranker "
        f"{request.settings.rerank.model}, after {ATTEMPTS} attempts: see the warnings of a search, and tune again "
        "once there are none"
    )
    raise DependencyUnavailable(message, dependency="rag")


def _folds(observations: Sequence[Observation]) -> list[list[Observation]]:
    """Return the parts: as many questions of both kinds in each, whatever their order."""
    folds: list[list[Observation]] = [[] for _ in range(_FOLDS)]
    for kind in (True, False):
        chosen = [each for each in observations if each.answerable is kind]
        chosen.sort(key=lambda each: hashlib.sha256(each.id.encode()).digest())
        for place, each in enumerate(chosen):
            folds[place % _FOLDS].append(each)
    return folds


def _threshold(observations: Sequence[Observation], rate: float) -> float:
    scores = sorted(each.best for each in observations if each.answerable)
    if not scores:
        return 0.0
    least = scores[min(math.floor(rate * len(scores)), len(scores) - 1)]
    return max(0.0, math.floor(least * 1000) / 1000)
