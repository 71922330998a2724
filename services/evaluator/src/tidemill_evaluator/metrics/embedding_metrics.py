"""The metrics `embedding_similarity:MODEL` and those of passages: both sides' texts, compared by their vectors."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_evaluator.errors import EMBEDDING_UNAVAILABLE, NoVerdict
from tidemill_evaluator.metrics.domain.embedding import (
    NAMES,
    EmbeddedTexts,
    EmbeddingMetric,
    EmbeddingScore,
    embedding_metric_in,
)
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Metric, Pair, PairScores, Scores
from tidemill_evaluator.metrics.embedding_scores import embedding_score
from tidemill_evaluator.metrics.ports import Embedder, TokenMatch, TokenMatcher
from tidemill_evaluator.metrics.text_vectors import TextVectors, Vectors
from tidemill_kit.workers.fair_share import Turns

_UNUSABLE = (NotFound, InvalidInput, PreconditionFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMetrics:
    """Implements `ports.MetricFamily`. An evaluation embeds all its texts by the version that it has pinned.

    Vectors are kept no longer than the cases wait that they are for.
    """

    embedder: Embedder
    matcher: TokenMatcher
    vectors: TextVectors
    turns: Turns
    max_sentences: int
    """Of an answer, of a reference, and of all passages of an answer."""

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return NAMES

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        found = embedding_metric_in(name)
        return found.metric if found else None

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """See `MetricFamily.check`. A gate may be declared before its model or collection is ready.

        Raises:
            NoVerdict: naming what cannot embed.
            DependencyUnavailable: rag is unavailable.

        """
        if not gating:
            await self._versions(caller, names)

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """See `MetricFamily.pin`: the versions of the models.

        Raises:
            NoVerdict: naming what cannot embed.
            DependencyUnavailable: rag is unavailable.

        """
        del answering, gating
        versions = await self._versions(caller, names)
        return {name: versions[each.model] for name, each in _read(names).items()}

    async def _versions(self, caller: Caller, names: Collection[str]) -> Mapping[str, str]:
        versions = dict[str, str]()
        for name, each in _read(names).items():
            if each.model not in versions:
                try:
                    versions[each.model] = await self.embedder.version(caller, each.model)
                except _UNUSABLE as error:
                    raise _unavailable(name, error) from error
        return versions

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """See `MetricFamily.scores`.

        Raises:
            NoVerdict: a model is gone.
            DependencyUnavailable, RateLimited: rag is unavailable or overloaded.

        """
        by_version = defaultdict[str, dict[str, EmbeddingMetric]](dict)
        for name, each in _read(names).items():
            by_version[pair.pins[name]][name] = each
        found = PairScores()
        for version, metrics in by_version.items():
            found |= await self._by(caller, version, metrics, pair)
        return found

    async def _by(self, caller: Caller, version: str, metrics: Mapping[str, EmbeddingMetric], pair: Pair) -> PairScores:
        baseline, candidate = (self._texts(pair, each) for each in (pair.baseline, pair.candidate))
        needed = [
            text
            for side in (baseline, candidate)
            if side
            for each in metrics.values()
            for text in side.needed(each.score)
        ]
        try:
            vectors = await self.vectors(caller, version, needed) if needed else {}
            of_tokens = await self._of_tokens(caller, version, metrics, (baseline, candidate))
        except _UNUSABLE as error:
            raise _unavailable(next(iter(metrics)), error) from error
        of_texts = {name: each for name, each in metrics.items() if each.score is not EmbeddingScore.BERT_SCORE}
        work = partial(_of_sides, of_texts, baseline, candidate, vectors)
        return of_tokens | await self.turns.in_thread(caller.project, work)

    async def _of_tokens(
        self,
        caller: Caller,
        version: str,
        metrics: Mapping[str, EmbeddingMetric],
        sides: Sequence[EmbeddedTexts | None],
    ) -> PairScores:
        """Return what compares tokens: rag does, so that their states need not be sent."""
        names = [name for name, each in metrics.items() if each.score is EmbeddingScore.BERT_SCORE]
        pairs = [(side.answer, side.reference) for side in sides if side and side.answer and side.reference]
        found = iter(await self.matcher.match(caller, version, pairs) if names and pairs else ())

        def scored(side: EmbeddedTexts | None) -> Scores:
            if side is None or not side.reference:
                return {}
            match = next(found) if side.answer else TokenMatch(precision=0.0, recall=0.0)
            return dict.fromkeys(names, match.f1)

        if not names:
            return PairScores()
        baseline, candidate = map(scored, sides)
        return PairScores(baseline=baseline, candidate=candidate)

    def _texts(self, pair: Pair, answered: GivenAnswer | None) -> EmbeddedTexts | None:
        if answered is None:
            return None
        return EmbeddedTexts.of(pair.case, answered, max_sentences=self.max_sentences)


def _of_sides(
    metrics: Mapping[str, EmbeddingMetric],
    baseline: EmbeddedTexts | None,
    candidate: EmbeddedTexts | None,
    vectors: Vectors,
) -> PairScores:
    return PairScores(baseline=_side(metrics, baseline, vectors), candidate=_side(metrics, candidate, vectors))


def _side(metrics: Mapping[str, EmbeddingMetric], texts: EmbeddedTexts | None, vectors: Vectors) -> Scores:
    if texts is None:
        return {}
    return {name: embedding_score(each.score, texts, vectors) for name, each in metrics.items()}


def _read(names: Collection[str]) -> Mapping[str, EmbeddingMetric]:
    return {name: each for name in names if (each := embedding_metric_in(name))}


def _unavailable(name: str, error: NotFound | InvalidInput | PreconditionFailed) -> NoVerdict:
    message = f"{name} cannot be computed: {error.message}; name an embedding model, or a collection that is searchable"
    return NoVerdict(EMBEDDING_UNAVAILABLE, message)
