"""Tunes a collection: finds settings on some questions, compares them on others, and sets them if they are better."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import ParseDict
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.evaluation_pb2 import EvaluationState
from tidemill.evaluator.v1.retrieval_evaluation_pb2 import RetrievalEvaluation, RetrievalMeasure
from tidemill.rag.v1.collection_pb2 import Collection, SearchSettings
from tidemill_cli.answerability import MIN_UNANSWERABLE, Calibration, calibrate
from tidemill_cli.output import plain, progress, table
from tidemill_cli.retrieval import ApplyIf
from tidemill_cli.retrieval_figures import followed, picture
from tidemill_cli.tuning import Settings, TuneOptions, Tuning, tunable, tune
from tidemill_client.connection import Connection
from tidemill_client.declared import Collections
from tidemill_client.judged_questions import JudgedQuestion, JudgedSuites, lowest
from tidemill_client.retrieval_evaluations import Side
from tidemill_core.errors import PreconditionFailed

MIN_QUESTIONS = 20
SHOWN = 8
"""Trials in the table."""


class NothingToTune(PreconditionFailed):
    """What tuning needs is missing; the message says what to do."""

    reason = "NOTHING_TO_TUNE"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """The trials, the comparison on held-out questions (None where the present settings are the best), and the end."""

    collection: str
    metric: str
    tuning: Tuning
    evaluation: RetrievalEvaluation | None = None
    calibration: Calibration | None = None
    """None where there are too few unanswerable questions."""
    calibrated_ranking: Settings | None = None
    """The settings whose scores the calibration is of."""
    applied: bool = False

    @property
    def measure(self) -> RetrievalMeasure | None:
        """The difference in what was tuned for."""
        measures = self.evaluation.measures if self.evaluation else ()
        return next((each for each in measures if each.metric == self.metric), None)

    def justifies(self, apply_if: ApplyIf) -> bool:
        """Return whether the comparison is enough to set the best settings."""
        ended = self.evaluation is not None and self.evaluation.state == EvaluationState.EVALUATION_STATE_COMPLETED
        if self.measure is None or not ended or apply_if is ApplyIf.NEVER:
            return False
        return self.measure.low > 0 or (apply_if is ApplyIf.BETTER and self.measure.difference > 0)

    @property
    def threshold(self) -> Settings:
        """What refuses questions, if it refuses the unanswerable ones more often than others, beyond chance."""
        known = self.calibration
        return known.settings if known is not None and known.separates else {}

    def decided(self, apply_if: ApplyIf) -> Settings:
        """Return the settings to set: the best ones if that is justified, else those that there are."""
        ranking = self.tuning.best.settings if self.justifies(apply_if) else self.tuning.current
        return ranking | self.threshold

    @property
    def patch(self) -> str:
        """The proposed settings, as loop.yaml has them."""
        ranking = self.calibrated_ranking if self.threshold and self.calibrated_ranking else self.tuning.best.settings
        proposed = json.dumps(ranking | self.threshold)
        return f"collections:\n  {self.collection}:\n    search: {proposed}"

    @property
    def data(self) -> dict[str, Any]:
        """It for programs."""
        trials = [
            {"settings": each.settings, "score": each.score, "questions": each.questions, "pruned": each.pruned}
            for each in self.tuning.trials
        ]
        return {
            "collection": self.collection,
            "current": self.tuning.current,
            "best": self.tuning.best.settings,
            "evaluation": plain(self.evaluation) if self.evaluation else None,
            "answerable": self._calibration_data(),
            "applied": self.applied,
            "trials": trials,
        }

    @property
    def picture(self) -> RenderableType:
        """It for people."""
        ranked = sorted(self.tuning.trials, key=lambda each: (each.pruned, -each.score))[:SHOWN]
        rows = [
            (json.dumps(each.settings), f"{each.score:.3f}", each.questions, "pruned" if each.pruned else "")
            for each in ranked
        ]
        pruned = sum(each.pruned for each in self.tuning.trials)
        title = f"{len(self.tuning.trials)} settings tried, {pruned} given up early"
        trials = table(("settings", self.metric, "questions", ""), rows, title=title)
        parts: list[RenderableType] = [trials, ""]
        parts += [picture(self.evaluation), ""] if self.evaluation else []
        parts += [escape(self.patch), ""] if self.evaluation or self.threshold else []
        return Group(*parts, escape(self._conclusion()), escape(self._refusals()))

    def _calibration_data(self) -> dict[str, Any] | None:
        known = self.calibration
        if known is None:
            return None
        shares = {"refused": known.refused, "false_refusals": known.false_refusals}
        decided = {"identifiers_required": known.identifiers_required, "separates": known.separates}
        return (
            {"answerable_above": known.above}
            | decided
            | {
                name: {"share": share.value, "interval": share.interval, "questions": share.of}
                for name, share in shares.items()
            }
        )

    def _refusals(self) -> str:
        known = self.calibration
        if known is None:
            return (
                f"answerable_above stays: it takes {MIN_UNANSWERABLE} unanswerable questions, which a suite imports as "
                "judged with the document -"
            )
        text = (
            f"answerable_above {known.above:g}{' with identifiers_required' if known.identifiers_required else ''} "
            f"refuses {known.refused} unanswerable questions, and "
            f"{known.false_refusals} others, each judged by what the rest of them say"
        )
        return text if known.separates else f"{text}: that is no better than chance, so it stays as it is"

    def _conclusion(self) -> str:
        if self.applied:
            when = "from now on, or with go_live: by_rollout once it is promoted"
            return f"set: {self.collection} searches by it {when}; write it into its loop.yaml, too"
        if self.evaluation is None:
            return "no ranking was found that is better than the present one"
        if self.measure is None:
            return f"the comparison came to no figures: {self.evaluation.message}"
        if self.measure.low > 0:
            return "better on held-out questions: --apply sets them"
        if self.measure.difference > 0:
            return (
                "better in the mean, but the interval has 0 in it: judge more questions, or --apply --accept-uncertain"
            )
        return "not better on held-out questions: keep what there is"


@dataclass(frozen=True, slots=True)
class TuneCollection:
    """The held-out questions are those whose ids have the lowest sha256: evaluator's sample, which no trial sees."""

    connection: Connection
    options: TuneOptions

    async def __call__(self, name: str, suite: str, *, apply_if: ApplyIf) -> TuneReport:
        """Return the report.

        Raises:
            NothingToTune: there are no judged questions, too few, or no settings.

        """
        collection = await Collections(self.connection).get(name)
        if not tunable(collection):
            message = f"{name} has no setting to tune: give it sparse vectors (sparse: {{by: bm25}}) or a reranker"
            raise NothingToTune(message)
        suite = suite or await self._only_suite(name)
        questions = await JudgedSuites(self.connection).questions(suite)
        size = round(len(questions) * self.options.held_out)
        held_out = {each.id for each in lowest(questions, size)}
        seen = [each for each in questions if each.is_judged and each.id not in held_out]
        judged = sum(each.is_judged for each in questions)
        if judged < MIN_QUESTIONS or not seen:
            message = f"suite {suite} has {judged} judged questions: at least {MIN_QUESTIONS} are needed; {_how(name)}"
            raise NothingToTune(message)
        tuning = await self._trials(collection, seen)
        report = TuneReport(collection=name, metric=self.options.metric, tuning=tuning)
        if tuning.best.settings != tuning.trials[0].settings:
            evaluation = await followed(
                self.connection,
                name,
                suite,
                baseline=Side(settings=tuning.current),
                candidate=Side(settings=tuning.best.settings),
                depth=self.options.depth,
                max_cases=size,
            )
            report = replace(report, evaluation=evaluation)
        if sum(each.unanswerable for each in questions) >= MIN_UNANSWERABLE:
            ranking = report.decided(apply_if if apply_if is not ApplyIf.NEVER else ApplyIf.CERTAIN)
            allowed = self.options.false_refusals
            calibration = await calibrate(self.connection, name, ranking, questions, false_refusals=allowed)
            report = replace(report, calibration=calibration, calibrated_ranking=ranking)
        decided = report.decided(apply_if)
        if apply_if is ApplyIf.NEVER or decided == tuning.current:
            return report
        await self._apply(collection, decided)
        return replace(report, applied=True)

    async def _only_suite(self, collection: str) -> str:
        known = [each.id for each in await JudgedSuites(self.connection).all()]
        if len(known) == 1:
            return known[0]
        if known:
            message = f"several suites have judged questions: choose one with --suite: {', '.join(known)}"
        else:
            message = f"no suite has judged questions, which tuning needs: {_how(collection)}"
        raise NothingToTune(message)

    async def _trials(self, collection: Collection, questions: Sequence[JudgedQuestion]) -> Tuning:
        with progress() as bar:
            task = bar.add_task("searching", total=self.options.trials * len(questions))

            def advance(tuning: Tuning, asked: int) -> None:
                tried = len(tuning.trials)
                left = (self.options.trials - tried) * asked / max(tried, 1)
                description = f"settings tried: {tried} of {self.options.trials}, questions"
                bar.update(task, description=description, completed=asked, total=asked + left if tried else None)

            return await tune(self.connection, collection, questions, options=self.options, watch=advance)

    async def _apply(self, collection: Collection, settings: Settings) -> None:
        """Set the settings, unless the collection changed since it was read."""
        search = ParseDict(settings, SearchSettings())
        changed = Collection(id=collection.id, etag=collection.etag, search=search)
        await Collections(self.connection).update(changed, "search")


def _how(collection: str) -> str:
    """Return how to get judged questions."""
    return (
        "import some (tidemill suites import NAME FOLDER), or generate some (tidemill suites generate NAME "
        f"--collection {collection} --deployment DEPLOYMENT)"
    )
