"""Searches the search settings of a collection for those that find the most, on judged questions."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeAlias

import optuna
from google.protobuf.json_format import MessageToDict, ParseDict

from tidemill.rag.v1.collection_pb2 import Collection, SearchSettings
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.connection import Connection
from tidemill_client.judged_questions import JudgedQuestion
from tidemill_client.retrieval_evaluations import ranking, search_settings
from tidemill_core.rankings import ranking_scores

BATCH = 16
"""Questions after which a trial may be pruned."""
MAX_CONCURRENT = 8
PASSAGES_PER_DOCUMENT = 4
_MAX_PASSAGES = 100
Settings: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """What is searched for, and how long."""

    metric: str = "ndcg"
    depth: int = 10
    trials: int = 40
    seed: int = 0
    held_out: float = 0.4
    """Share of the questions that no trial sees."""
    false_refusals: float = 0.05
    """Share of the answerable questions that may find nothing, so that unanswerable ones find nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """The settings of one trial, and their mean over the questions that it came to."""

    settings: Settings
    score: float
    questions: int
    pruned: bool = False


@dataclass(kw_only=True)
class Tuning:
    """The trials so far; the first one is of the settings that the collection has."""

    current: Settings
    trials: list[TrialResult] = field(default_factory=list)

    @property
    def best(self) -> TrialResult:
        """The best of the whole trials; of equal ones the first."""
        return max((each for each in self.trials if not each.pruned), key=lambda each: each.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Knob:
    """One setting that is tuned: how a value is suggested, and what the present settings have."""

    name: str
    suggest: Callable[[optuna.Trial], Any]
    current: Any


async def tune(
    connection: Connection,
    collection: Collection,
    questions: Sequence[JudgedQuestion],
    *,
    options: TuneOptions,
    watch: Callable[[Tuning, int], None] = lambda _tuning, _asked: None,
) -> Tuning:
    """Return the trials: a tree-structured Parzen estimator suggests, a median rule prunes over batches of questions.

    Bergstra et al., Algorithms for Hyper-Parameter Optimization (2011); Golovin et al., Google Vizier (2017). `watch`
    is called after each batch with the number of questions that were asked so far. Deterministic by its seed, as far as
    the searches are.
    """
    tuning, knobs = Tuning(current=search_settings(collection)), _knobs(collection)
    study = _study(options)
    study.enqueue_trial({knob.name: knob.current for knob in knobs})
    batches, asked = _batches(questions, options.seed), 0
    known: dict[str, TrialResult] = {}
    for _ in range(options.trials):
        trial = study.ask()
        settings = _merged(tuning.current, {knob.name: knob.suggest(trial) for knob in knobs})
        name = json.dumps(settings, sort_keys=True)
        if name in known:  # rounded values repeat
            study.tell(trial, known[name].score)
            continue
        scores, pruned = list[float](), False
        for step, batch in enumerate(batches):
            scores += await _scores(connection, collection.id, settings, batch, options=options)
            asked += len(batch)
            watch(tuning, asked)
            trial.report(fmean(scores), step)
            if pruned := bool(trial.should_prune()) and step < len(batches) - 1:
                break
        result = TrialResult(settings=settings, score=fmean(scores), questions=len(scores), pruned=pruned)
        tuning.trials.append(result)
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            known[name] = result
            study.tell(trial, result.score)
    return tuning


def tunable(collection: Collection) -> list[str]:
    """Return which settings of a collection can be tuned."""
    return [knob.name for knob in _knobs(collection)]


def _study(options: TuneOptions) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed, n_startup_trials=8),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
    )


def _knobs(collection: Collection) -> list[_Knob]:
    """Return the settings that change which documents are found, as far as this collection's version has them.

    Fusion by ranks sees the ratio of the weights only, so that of vectors stays. Neighbours change no ranking of
    documents. From which score on a passage answers is no matter of trials: `answerability` reads it off.
    """
    fields, search = (
        SearchSettings.DESCRIPTOR.fields_by_name,
        MessageToDict(ranking(collection), preserving_proto_field_name=True, always_print_fields_with_no_presence=True),
    )
    knobs = []
    live = next((each for each in collection.indexes if each.number == collection.live_index), None)
    if live is not None and live.sparse.by not in {"", "none"}:
        knobs.append(
            _Knob(
                name="sparse_weight",
                suggest=lambda trial: round(trial.suggest_float("sparse_weight", 0.0, 3.0), 2),
                current=min(search.get("sparse_weight", 0.7), 3.0),
            )
        )
    if "diversity" in fields:
        knobs.append(
            _Knob(
                name="diversity",
                suggest=lambda trial: round(trial.suggest_float("diversity", 0.0, 0.6), 2),
                current=min(search.get("diversity", 0.0), 0.6),
            )
        )
    if model := search.get("rerank", {}).get("model"):
        knobs.append(
            _Knob(
                name="candidates",
                suggest=lambda trial: {"model": model, "candidates": trial.suggest_int("candidates", 10, 100, step=10)},
                current=max(10, min(100, round(search["rerank"].get("candidates", 20), -1))),
            )
        )
    return knobs


def _merged(current: Settings, suggested: Mapping[str, Any]) -> Settings:
    renamed = {"rerank" if name == "candidates" else name: value for name, value in suggested.items()}
    return current | renamed


def _batches(questions: Sequence[JudgedQuestion], seed: int) -> list[Sequence[JudgedQuestion]]:
    mixed = [*questions]
    random.Random(seed).shuffle(mixed)  # noqa: S311 - not for security
    return [mixed[start : start + BATCH] for start in range(0, len(mixed), BATCH)]


async def _scores(
    connection: Connection,
    collection: str,
    settings: Settings,
    questions: Sequence[JudgedQuestion],
    *,
    options: TuneOptions,
) -> list[float]:
    permits, search = asyncio.Semaphore(MAX_CONCURRENT), ParseDict(settings, SearchSettings())

    async def score(question: JudgedQuestion) -> float:
        request = SearchRequest(
            collection=collection,
            query=question.text,
            top_k=min(options.depth * PASSAGES_PER_DOCUMENT, _MAX_PASSAGES),
            principals=question.principals,
            settings=search,
        )
        async with permits:
            reply = await connection.retrieval.Search(request)
        ranking = [*dict.fromkeys(passage.document for passage in reply.passages)]
        return ranking_scores(ranking, question.grades, depth=options.depth)[options.metric]

    return list(await asyncio.gather(*map(score, questions)))
