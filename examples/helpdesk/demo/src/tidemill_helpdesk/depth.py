"""Learning in depth: a sweep in place of one run, and DPO on the pairs that the same reactions make."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tidemill.evaluator.v1.evaluation_pb2 import CaseResult, Evaluation, Verdict
from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepTrialState
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun
from tidemill_cli.output import plain, stdout, table, word
from tidemill_cli.sweeps import trial_columns, trial_rows
from tidemill_client.declared import TrainingPlans
from tidemill_client.evaluations import Evaluations
from tidemill_client.sweeps import Sweeps
from tidemill_client.training import Training
from tidemill_helpdesk.choices import Choices
from tidemill_helpdesk.judging import GATE, METRIC, comparison_of, scores_of, show_verdict, unmet
from tidemill_helpdesk.turn import PLAN, Turn
from tidemill_helpdesk.watching import judged, searched, trained

PAIRS, PREFERRED, PREFERRED_GATE = "helpdesk_preferences", "helpdesk_preferred", "helpdesk_preferred_gate"
SEARCHED, SECTION = "sweep", "preferred"
"""The sections of the report."""


@dataclass(slots=True, kw_only=True)
class Depth:
    """What `make demo ARGS=--deep` adds to the turn, as deep.yaml declares it."""

    turn: Turn
    sweep: Sweep = field(default_factory=Sweep)
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss of the DPO training."""
    cases: list[CaseResult] = field(default_factory=list)

    async def hold(self) -> None:
        """Pause the DPO training until the turn is over: two cores do one thing after the other."""
        await self._pause(paused=True)
        stdout.print(f"   training {PREFERRED} is paused until the turn is over")

    async def pairs(self) -> None:
        """Wait for the pairs of the corrections and choices."""
        version = await Choices(turn=self.turn).version(PAIRS)
        if isinstance(version, str):
            self.turn.report.add(SECTION, without_version=version)
            text = f"   no version of {PAIRS}: {version}; {PREFERRED} is not trained"
            stdout.print(text, highlight=False, markup=False)
            return
        train, held_out = version.train.examples, version.held_out.examples
        self.turn.report.add(SECTION, dataset=version.id, pairs=train, held_out=held_out)
        stdout.print(f"   {version.id}: {train} pairs to train on, of corrections and choices")

    @property
    def has_pairs(self) -> bool:
        """Whether there is a version of the pairs to train on, as `pairs` has found."""
        return "without_version" not in self.turn.report.figures.get(SECTION, {})

    async def search(self, *, retry: bool = False) -> None:
        """Show the trials of the sweep that the new version starts, or with `retry` another one; its run follows."""
        found = self.sweep = await searched(self.turn.connection, PLAN, retry=retry)
        states = Counter(word(SweepTrialState, trial.state) for trial in found.trials)
        self.turn.report.add(
            SEARCHED,
            sweep=found.id,
            trials=len(found.trials),
            **{state: states[state] for state in ("measured", "pruned", "failed")},
            own_settings_loss=_last_loss(found, 1),
            winner=found.winner,
            winner_loss=_last_loss(found, found.winner),
            winner_settings=_settings(found),
            computed_s=round(found.time.ToTimedelta().total_seconds(), 1),
            losses=[list(trial.losses) for trial in found.trials],
        )
        title = f"{found.id}: the winner * is trained on everything, and it alone meets the gate"
        stdout.print(table(trial_columns(found), trial_rows(found), title=title))

    async def met_the_gate(self) -> None:
        """Report what of the sweep came to the gate: the winner's version alone."""
        found = self.sweep = await Sweeps(self.turn.connection).get(self.sweep.id)
        gated = [each.candidate async for each in Evaluations(self.turn.connection).all(gate=GATE)]
        version = found.model_version
        if not version and found.run:  # it failed, and was retried: the sweep has ended without it
            version = (await Training(self.turn.connection).run(found.run)).model_version
        self.turn.report.add(SEARCHED, model_version=version, met_the_gate=sorted(set(gated)))

    async def train(self, *, retry: bool = False) -> TrainingRun:
        """Resume the plan, which trains on the version that was published meanwhile, and watch its run."""
        await self._pause(paused=False)
        run = await trained(self.turn.connection, PREFERRED, retry=retry)
        self.losses = [(point.step, point.loss) for point in run.progress.losses]
        self.turn.report.add(
            SECTION, version=run.model_version, method="dpo", steps=run.progress.steps, loss=run.progress.loss
        )
        stdout.print(f"   {run.model_version}: {run.progress.steps} steps, loss {run.progress.loss:.3f} at the end")
        return run

    async def judge(self, candidate: str, *, retry: bool = False) -> None:
        """Watch its gate compare it with what is live, and report the verdict, whatever it is."""
        evaluation = await judged(self.turn.connection, PREFERRED_GATE, candidate, retry=retry)
        self.cases = [case async for case in Evaluations(self.turn.connection).cases(evaluation.id)]
        self._report(evaluation)

    def pictures(self) -> dict[str, Any]:
        """Return what the report draws of it, except the scores."""
        return {"sweep": self.sweep, "preferred_losses": self.losses}

    def scores(self) -> list[dict[str, Any]]:
        """Return the scores of every case, of the live model and of what DPO trained."""
        return [each | {"case_set": f"{each['case_set']}, {PREFERRED}"} for each in scores_of(self.cases)]

    def _report(self, evaluation: Evaluation) -> None:
        compared = comparison_of(evaluation, "suite:")
        stdout.print(f"   {evaluation.candidate} against {evaluation.baseline}, which is live:", highlight=False)
        self.turn.report.add(
            SECTION,
            live_model=evaluation.baseline,
            metric=METRIC,
            cases=compared.cases,
            baseline=compared.baseline,
            candidate=compared.candidate,
            difference=compared.difference,
            interval=[compared.low, compared.high],
            confidence=evaluation.confidence,
            broken=unmet(evaluation),
            verdict=show_verdict(evaluation, [compared]),
        )
        if evaluation.verdict == Verdict.VERDICT_PASSED:
            stdout.print(f"   better, and not rolled out: {self.turn.example.loop.name} lets helpdesk follow {PLAN}")

    async def _pause(self, *, paused: bool) -> None:
        plan = TrainingPlan(id=PREFERRED, paused=paused)
        await TrainingPlans(self.turn.connection).update(plan, "paused")


def _last_loss(found: Sweep, number: int) -> float | None:
    return next((trial.losses[-1] for trial in found.trials if trial.number == number and trial.losses), None)


def _settings(found: Sweep) -> dict[str, Any]:
    winner = next(trial for trial in found.trials if trial.number == found.winner)
    settings: dict[str, Any] = plain(winner)["settings"]
    return settings
