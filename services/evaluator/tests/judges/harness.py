"""Judges on an in-memory store, asking a model that says what it is given to say."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from services.evaluator.tests.builders import ADA, cases, write
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import NotFound, TidemillError
from tidemill_evaluator.errors import JudgeNotFound
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.crud import JudgeCrud
from tidemill_evaluator.judges.domain.form import Form, Material
from tidemill_evaluator.judges.domain.judge import Judge, JudgeMode
from tidemill_evaluator.judges.judge_metrics import JudgeMetrics
from tidemill_evaluator.judges.measure_judge import MeasureJudge, StartMeasurement
from tidemill_evaluator.judges.mongo import JUDGES
from tidemill_evaluator.judges.pin_judges import PinJudges
from tidemill_evaluator.judges.ports import (
    JudgeAnswer,
    JudgeDeployment,
    JudgedItem,
    LabelledItem,
    Measured,
    PinnedJudge,
    Record,
    ReviewField,
)
from tidemill_evaluator.judges.score_answer import ScoreAnswer
from tidemill_evaluator.judges.watch_drift import WatchDrift
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Pair
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_kit.workers.fair_share import Turns
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates

GRADER = JudgeDeployment(configuration="g1", model="grader@1", deadline_s=30.0)
RUBRIC = "Is it friendly?"
PAIRS = ("judge:better", "judge:better:position_bias")


class InMemoryJudgeModels:
    """Implements `ports.JudgeModels`, recording what was asked as inference does: without texts."""

    def __init__(self) -> None:
        self.deployments = {("acme", "grader"): GRADER}
        self.says: Callable[[Form], str] = lambda _: points(5)
        self.fails: list[TidemillError] = []
        """One for each call."""
        self.forms: list[Form] = []
        self.read: list[str] = []
        """Deployments."""
        self.answers_by = ""
        """The model of a fallback."""
        self.in_flight = self.max_in_flight = 0
        self._records: dict[str, JudgeAnswer] = {}

    async def deployment(self, caller: Caller, deployment: str) -> JudgeDeployment:
        self.read.append(deployment)
        return self._live(caller, deployment)

    def _live(self, caller: Caller, deployment: str) -> JudgeDeployment:
        try:
            return self.deployments[caller.project, deployment]
        except KeyError:
            raise NotFound(deployment) from None

    async def ask(
        self, caller: Caller, deployment: str, form: Form, *, request_id: str, deadline_s: float
    ) -> JudgeAnswer:
        assert deadline_s == GRADER.deadline_s
        if request_id in self._records:
            return self._records[request_id]
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if self.fails:
            raise self.fails.pop(0)
        live = self._live(caller, deployment)
        self.forms.append(form)
        model = self.answers_by or live.model
        recorded = JudgeAnswer(text="", configuration=live.configuration, model=model, whole=False)
        self._records[request_id] = recorded
        return JudgeAnswer(text=self.says(form), configuration=live.configuration, model=model, whole=True)


class InMemoryQueues:
    """Implements `ports.ReviewQueues`."""

    def __init__(self) -> None:
        self.known = {"answers": {"right": ReviewField(name="right", boolean=True), "stars": ReviewField(name="stars")}}
        self.items: list[LabelledItem] = []
        self.away: TidemillError | None = None

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, ReviewField] | None:
        assert caller.project
        if self.away:
            raise self.away
        return self.known.get(queue)

    async def labelled(self, caller: Caller, queue: str, field: ReviewField, *, limit: int) -> Sequence[LabelledItem]:
        assert caller.project
        assert field.name in self.known[queue]
        return self.items[:limit]


class InMemoryRecords:
    """Implements `ports.Records`."""

    def __init__(self) -> None:
        self.known: dict[str, Record] = {}
        self.before: Callable[[str], Awaitable[object]] | None = None

    async def read(self, caller: Caller, inference: str) -> Record | None:
        assert caller.project
        if self.before:
            await self.before(inference)
        return self.known.get(inference)


class InMemoryJudgedItems:
    """Implements `ports.JudgedItems`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, Measured], dict[str, JudgedItem]] = defaultdict(dict)

    async def read(self, project: str, measured: Measured) -> Mapping[str, JudgedItem]:
        return dict(self.stored[project, measured])

    async def keep(self, project: str, measured: Measured, judged: JudgedItem) -> None:
        self.stored[project, measured][judged.item] = judged

    async def forget_others(self, project: str, judge: str, *, measurements: Sequence[int]) -> None:
        for owner, measured in list(self.stored):
            if (owner, measured.judge) == (project, judge) and measured.measurement not in measurements:
                del self.stored[owner, measured]


class Judging:
    """Judges, what asks them, and the model behind them."""

    def __init__(self, *, max_concurrent: int = 4) -> None:
        self.store = InMemoryAggregates[Judge](codec=JUDGES, missing=JudgeNotFound, clock=FixedClock())
        self.required = defaultdict[str, list[str]](list)
        """Metric -> gates."""
        self.judged = InMemoryJudgedItems()
        self.crud = JudgeCrud(judges=self.store, judged=self.judged, gates_of=self._gates_of)
        self.models = InMemoryJudgeModels()
        self.ask = AskJudge(models=self.models, attempts=3, pause_s=0.0, turns=Turns(max_concurrent))
        self.pins = PinJudges(judges=self.store, models=self.models)
        self.clock = FixedClock()
        self.queues, self.records = InMemoryQueues(), InMemoryRecords()
        self.watch_drift = WatchDrift(
            judges=self.store, judged=self.judged, records=self.records, ask=self.ask, max_cases=10, clock=self.clock
        )
        self.metrics = JudgeMetrics(judges=self.store, pins=self.pins, ask=self.ask, watch_drift=self.watch_drift)
        self.enqueued: list[ResourceKey] = []
        self.start = StartMeasurement(judges=self.store, queues=self.queues, enqueue=self.enqueued.append)
        self.score = ScoreAnswer(pins=self.pins, ask=replace(self.ask, waits_for_models=True), max_characters=1000)
        self.measure = MeasureJudge(
            judges=self.store,
            pins=self.pins,
            ask=self.ask,
            queues=self.queues,
            records=self.records,
            judged=self.judged,
            intervals=BettingIntervals(),
            max_items=200,
            drift_cases=10,
            clock=self.clock,
        )

    async def _gates_of(self, caller: Caller, metric: str) -> list[str]:
        assert caller.project
        return self.required[metric]

    async def with_judge(self, judge: Judge | None = None) -> PinnedJudge:
        created = await self.crud.create(ADA, judge or judge_of(), write())
        return PinnedJudge(judge=created, deployment=GRADER)

    def review(self, *labels: float, right: int = 5, wrong: int = 1) -> None:
        """Have people label answers a0, a1, ..., of which the judge says `right` points for 1, `wrong` for 0."""
        for number, label in enumerate(labels):
            self.queues.items.append(LabelledItem(id=f"i{number}", inference=f"a{number}", label=label))
            material = Material(question=f"{number}?", answer="yes" if label else "no")
            self.records.known[f"a{number}"] = Record(material=material, end_user="ada")
        self.models.says = lambda form: points(right if material_of(form)["answer"] == "yes" else wrong)

    async def measured(self, name: str = "tone", *, field: str = "right", epoch: int = 1) -> Judge:
        """Measure a judge, and return it."""
        await self.start(ADA, name, queue="answers", field=field, write=write())
        await self.measure(ADA, name, epoch=epoch)
        return await self.store.get("acme", name)

    async def pair(self, name: str = "tone", *, baseline: str | None = "no", candidate: str | None = "yes") -> Pair:
        """Return two answers, for this judge as it is now."""
        metric = f"judge:{name}"
        pins = await self.metrics.pin(ADA, [metric], answering=[], gating=False)
        one, two = (None if text is None else GivenAnswer(text=text) for text in (baseline, candidate))
        return Pair(case=cases(1)[0], baseline=one, candidate=two, name="e1/c1", pins=pins)


def judge_of(name: str = "tone", **fields: object) -> Judge:
    known = {"id": name, "project": "acme", "deployment": "grader", "rubric": RUBRIC}
    return Judge(**(known | fields))  # type: ignore[arg-type] # fields of a judge


def pairwise() -> Judge:
    return judge_of("better", mode=JudgeMode.PAIRWISE)


def points(number: object, *, of: str = "quality") -> str:
    return json.dumps({of: number})


def material_of(form: Form) -> dict[str, object]:
    """Return the object in a form."""
    found: dict[str, object] = json.JSONDecoder().raw_decode(form.material)[0]
    return found


def prefers(text: str) -> Callable[[Form], str]:
    """Return a judge that prefers an answer wherever it stands."""

    def said(form: Form) -> str:
        answers = material_of(form)["answers"]
        assert isinstance(answers, dict)
        return json.dumps({"preferred": next(label for label, answer in answers.items() if answer == text)})

    return said
