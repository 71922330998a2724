"""All metrics by name: those of this module, and those of other families."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.readability import Prose
from tidemill_core.rouge import rouge_l
from tidemill_evaluator.metrics.domain.json_texts import is_json
from tidemill_evaluator.metrics.domain.load import under_like_load
from tidemill_evaluator.metrics.domain.metric import (
    CITATION_VALID,
    COST,
    EXACT_MATCH,
    JSON_VALID,
    LATENCY_S,
    LIX,
    OUTPUT_CHARS,
    OUTPUT_TOKENS,
    REFUSAL,
    ROUGE_L,
    TOKEN_F1,
    GivenAnswer,
    Metric,
    Need,
    Pair,
    PairScores,
    Scored,
    Scores,
)
from tidemill_evaluator.metrics.domain.refusals import is_refusal
from tidemill_evaluator.metrics.domain.words import exact_match, token_f1
from tidemill_evaluator.metrics.ports import MetricFamily
from tidemill_evaluator.suites.domain.cases import Case

_REFERENCE = frozenset({Need.REFERENCE})
_OWN = (
    Metric(name=ROUGE_L, source="ROUGE-L of words, F-measure without stemming (Lin 2004)", needs=_REFERENCE),
    Metric(name=TOKEN_F1, source="F1 of shared words (SQuAD, Rajpurkar et al. 2016)", needs=_REFERENCE),
    Metric(name=CITATION_VALID, source="share of sentences that a passage supports, by inference; unset is 0"),
    Metric(name=OUTPUT_CHARS, source="characters of the answer", bounded=False),
    Metric(name=EXACT_MATCH, source="1 for the same words in the same order (SQuAD)", needs=_REFERENCE),
    Metric(name=JSON_VALID, source="1 for an answer that is JSON (RFC 8259) and nothing else"),
    Metric(name=REFUSAL, source="1 for an answer that refuses, or says that it does not know", less_is_better=True),
    Metric(
        name=LIX,
        source="words per sentence, and percent of words of more than six letters (Björnsson 1968)",
        less_is_better=True,
        bounded=False,
    ),
    Metric(
        name=LATENCY_S,
        source="seconds of the answer without search, of pairs answered under a like load",
        less_is_better=True,
        bounded=False,
    ),
    Metric(name=COST, source="price of the answer with all attempts, by inference", less_is_better=True, bounded=False),
    Metric(name=OUTPUT_TOKENS, source="tokens of the answer, by inference", less_is_better=True, bounded=False),
)
METRICS: Mapping[str, Metric] = {each.name: each for each in _OWN}
"""The metrics of this service's own; other families add theirs to a `Registry`."""
ALWAYS = (ROUGE_L, TOKEN_F1, CITATION_VALID, OUTPUT_CHARS)
"""Computed in every evaluation; all others where something asks for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The metrics of all families; implements `ports.KnownMetrics`."""

    families: Sequence[MetricFamily]

    @property
    def names(self) -> Sequence[str]:
        """See `KnownMetrics.names`."""
        return [name for family in self.families for name in family.names]

    def find(self, name: str) -> Metric | None:
        """See `KnownMetrics.find`."""
        return next((found for family in self.families if (found := family.find(name))), None)

    def of(self, name: str) -> Metric:
        """Return a metric that was checked when it was asked for.

        Raises:
            KeyError: a version of this service that knew it asked for it.

        """
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    async def check(self, caller: Caller, names: Collection[str], *, gating: bool) -> None:
        """Refuse known metrics that the project cannot use.

        Raises:
            InvalidInput, NotFound, PreconditionFailed: see `MetricFamily.check`.

        """
        for family in self.families:
            if own := [name for name in dict.fromkeys(names) if family.find(name)]:
                await family.check(caller, own, gating=gating)

    async def pin(
        self, caller: Caller, names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        """Return the versions of what computes these metrics.

        Raises:
            DependencyUnavailable, RateLimited, NoVerdict: see `MetricFamily.pin`.

        """
        pins = dict[str, str]()
        for family in self.families:
            if own := [name for name in dict.fromkeys(names) if family.find(name)]:
                pins |= await family.pin(caller, own, answering=answering, gating=gating)
        return pins

    def applying(self, asked: Collection[str], case: Case) -> list[str]:
        """Return the metrics to compute for a case: those always computed, those asked for, and the case's own."""
        known = [found for name in (*ALWAYS, *asked, *self.names) if (found := self.find(name))]
        requested = {*ALWAYS, *asked}
        chosen = [each.name for each in known if (each.name in requested or each.by_case) and each.applies_to(case)]
        return list(dict.fromkeys(chosen))

    async def scores(self, caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        """Return the scores of both sides of a case by these metrics.

        Raises:
            DependencyUnavailable, RateLimited, NoVerdict: see `MetricFamily.scores`.

        """
        found = PairScores()
        for family in self.families:
            if own := [name for name in names if family.find(name)]:
                found |= await family.scores(caller, own, pair)
        return found


def scores_of(names: Collection[str], pair: Pair) -> PairScores:
    """Return the scores of both sides of a case by metrics of `METRICS`."""
    return PairScores(baseline=_side(names, pair, pair.baseline), candidate=_side(names, pair, pair.candidate))


def _side(names: Collection[str], pair: Pair, answered: GivenAnswer | None) -> Scores:
    if answered is None:
        return {}
    return {name: _SCORERS[name](pair, answered) for name in names}


def _latency_s(pair: Pair, answered: GivenAnswer) -> Scored:
    if pair.baseline is None or pair.candidate is None:
        return answered.total_s or None
    return answered.total_s if under_like_load(pair.baseline, pair.candidate) else None


_SCORERS: Mapping[str, Callable[[Pair, GivenAnswer], Scored]] = {
    ROUGE_L: lambda pair, answered: rouge_l(pair.case.reference, answered.text),
    TOKEN_F1: lambda pair, answered: token_f1(pair.case.reference, answered.text),
    CITATION_VALID: lambda _, answered: answered.citation_valid or 0.0,
    OUTPUT_CHARS: lambda _, answered: float(len(answered.text)),
    EXACT_MATCH: lambda pair, answered: exact_match(pair.case.reference, answered.text),
    JSON_VALID: lambda _, answered: float(is_json(answered.text)),
    REFUSAL: lambda _, answered: float(not answered.text.strip() or is_refusal(answered.text)),
    LIX: lambda _, answered: Prose.of(answered.text).lix(),
    LATENCY_S: _latency_s,
    COST: lambda _, answered: answered.cost,
    OUTPUT_TOKENS: lambda _, answered: answered.output_tokens,
}
