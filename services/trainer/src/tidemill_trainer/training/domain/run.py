"""One training of a recipe on a dataset version."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import derived_id
from tidemill_core.approvals import with_author
from tidemill_trainer.errors import (
    RunFinished,
    RunLost,
    RunNotImported,
    RunNotRetriable,
    SweepNotRetriable,
    SweepNotStarted,
    TrialNotRetriable,
)
from tidemill_trainer.registry.domain.base_facts import BaseFacts
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.guidance import Guidance, PinnedJudge
from tidemill_trainer.training.domain.losses import stalled, thinned
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.plan import DatasetVersion, RunLimits, TrainingPlan
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.run_events import RunHasFailed, RunHasSucceeded, RunWasQueued
from tidemill_trainer.training.domain.run_notes import RunNotes
from tidemill_trainer.training.domain.trial import Trial
from tidemill_trainer.training.domain.waiting import Waiting


class RunState(Enum):
    """FAILED and CANCELLED can be retried, except trials; the other ends are final, of trials MEASURED and PRUNED.

    IMPORTED are runs of other tools, which are nothing but a record.
    """

    QUEUED = "queued"
    RUNNING = "running"
    REGISTERING = "registering"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MEASURED = "measured"
    PRUNED = "pruned"
    IMPORTED = "imported"


OUT_OF_MEMORY = "OUT_OF_MEMORY"
IN_WORK = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.REGISTERING})


def run_id(project: str, plan: str, dataset_version: str) -> str:
    """Return the id of the run that a new dataset version starts: the same for the same version."""
    return derived_id("training_run", project, plan, dataset_version)


@dataclass(slots=True, kw_only=True)
class TrainingRun(Aggregate):
    """A training run.

    Plan, base, recipe and limits are fixed when it is queued; a retry may change base and limits, a resume with less
    memory the limits, and an erasure how many examples its dataset version has. Every write of a worker carries its
    lease epoch; a write of an earlier epoch, or for a finished run, raises RunLost.
    """

    plan: str
    dataset: DatasetVersion
    base: str
    """`model@version`; the plan's reference if it could not be resolved."""
    recipe: Recipe
    limits: RunLimits
    state: RunState = RunState.QUEUED
    progress: Progress = field(default_factory=Progress)
    reason: str = ""
    message: str = ""
    model_version: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of code and libraries it ran with, and what it computed on."""
    base_digest: str = ""
    """The digest of the base's version; "" before it computes."""
    notes: str = ""
    """What people say about it."""
    source: str = ""
    """Of an imported run: where it was recorded."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of an imported run: its settings."""
    attempt: int = 0
    epoch: int = 0
    furthest: int = 0
    """The highest step reached by any attempt since it was queued."""
    fruitless: int = 0
    """Attempts started since then that did not end by waiting: the only trace of a worker that the run crashes."""
    fit: Fit | None = None
    """The memory fit, once known."""
    smaller_than: Choice | None = None
    """The choice that ran out of memory; only smaller ones may be used."""
    shrunk: bool = False
    """True if it has resumed automatically with a smaller choice since it was queued."""
    examples: ExampleCounts | None = None
    warnings: tuple[str, ...] = ()
    start_time: datetime | None = None
    finish_time: datetime | None = None
    requester: str = ""
    """The subject of the credential that started or last retried it; "" where its plan did."""
    authors: tuple[str, ...] = ()
    """The plan's authors when it was queued, those of the models that guide it, and all that started or retried it."""
    sweep: str = ""
    """The sweep that it is a trial of, or whose winner it trains."""
    priority: int = 0
    """Of the runs of a project that wait, the highest is first; one of a lower priority may give its place to it."""
    preemptions: int = 0
    """How often it gave way to another."""
    waiting: Waiting = field(default_factory=Waiting)
    processes: int = 1
    """How many compute it together."""
    judge: PinnedJudge | None = None
    """The version of the judge that rewards its answers, if one does."""
    trial: Trial | None = None
    """None for all that are no trial. A trial registers nothing and emits no events: its sweep does."""

    @classmethod
    def queue(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        *,
        run: str,
        plan: TrainingPlan,
        dataset: DatasetVersion,
        base: str,
        now: datetime,
        facts: BaseFacts | None = None,
        guidance: Guidance | None = None,
        sweep: str = "",
        trial: Trial | None = None,
    ) -> "TrainingRun":
        """Return a new run of a plan, on a base with these facts; `guidance` is the plan's, with numbered versions."""
        recipe = plan.settings.recipe_on(facts or BaseFacts())
        if guidance:
            recipe = replace(recipe, rewards=guidance.rewards, teacher=guidance.teacher)
        queued = cls(
            id=run,
            project=plan.project,
            labels=dict(plan.labels),
            plan=plan.id,
            dataset=dataset,
            base=base,
            recipe=recipe,
            limits=plan.settings.limits,
            processes=plan.settings.processes,
            priority=plan.settings.priority,
            message="waits for a worker",
            waiting=Waiting(since=now),
            authors=plan.authors,
            sweep=sweep,
            trial=trial,
            judge=guidance.judge if guidance else None,
        )
        queued._credit(guidance.authors if guidance else ())
        if trial is None:
            queued.pending.append(RunWasQueued(occurred_at=now))
        return queued

    def request(self, subject: str) -> None:
        """Record who starts or retries it, unless the subject is not known."""
        self.requester = subject or self.requester
        self.authors = with_author(self.authors, subject)

    def _credit(self, authors: Sequence[str]) -> None:
        self.authors = tuple(dict.fromkeys((*self.authors, *authors)))

    @property
    def reward_models(self) -> Sequence[str]:
        """The versions, `model@version`, that reward its answers."""
        return tuple(dict.fromkeys(each.reward_model for each in self.recipe.rewards if each.reward_model))

    @property
    def judge_version(self) -> str:
        """The version of its judge, "" where it has none."""
        return self.judge.version if self.judge else ""

    @property
    def estimated_judge_calls(self) -> int:
        """How many calls of models its judge takes at most, if every judgement can be read; 0 without one."""
        return self.judge.calls_of(self.recipe.args, rows=self.dataset.examples) if self.judge else 0

    @property
    def dataset_digest(self) -> str:
        """The sha256 of the train split."""
        return self.dataset.train.sha256

    def describe(self, given: RunNotes, changed: AbstractSet[str]) -> None:
        """Set the notes or labels that `changed` names."""
        if "notes" in changed:
            self.notes = given.notes
        if "labels" in changed:
            self.labels = dict(given.labels)

    @property
    def is_in_work(self) -> bool:
        """True while it is QUEUED, RUNNING or REGISTERING."""
        return self.state in IN_WORK

    @property
    def is_retriable(self) -> bool:
        """True if it failed or was cancelled."""
        return self.state in {RunState.FAILED, RunState.CANCELLED}

    @property
    def has_begun(self) -> bool:
        """True if an attempt has loaded the base."""
        return bool(self.versions)

    def claim(self, epoch: int, *, now: datetime) -> None:
        """Assign the run to the worker with this lease epoch; a REGISTERING run keeps its state.

        Raises:
            RunLost: a later epoch has it, or nothing is left to do.

        """
        if epoch < self.epoch or not self.is_in_work:
            raise RunLost(self.id)
        self.epoch, self.message, self.waiting = epoch, "", Waiting(since=self.waiting.since)
        self.state = RunState.RUNNING if self.state is RunState.QUEUED else self.state
        self.attempt += 1
        self.fruitless += 1
        self.start_time = self.start_time or now

    def begin(self, *, versions: Mapping[str, str], base_digest: str = "", epoch: int) -> None:
        """Record that the attempt runs, with the versions of its libraries and the digest of its base."""
        self.refuse_unless_claimed(epoch)
        self.state, self.versions, self.base_digest = RunState.RUNNING, dict(versions), base_digest

    def fitted(self, fit: Fit, examples: ExampleCounts, *, warnings: Sequence[str], epoch: int) -> None:
        """Record the memory fit and the example counts of the attempt."""
        self.refuse_unless_claimed(epoch)
        self.fit, self.examples, self.warnings = fit, examples, tuple(warnings)

    def start_over(self, dataset: DatasetVersion, *, epoch: int) -> None:
        """Record what is left of its dataset version, and that nothing was computed from that yet."""
        self.refuse_unless_claimed(epoch)
        self.dataset, self.progress = dataset, Progress(judge_calls=self.progress.judge_calls)
        self.examples, self.warnings, self.furthest = None, (), 0

    @property
    def may_shrink(self) -> bool:
        """True if it may resume automatically, once, with a smaller choice after running out of memory."""
        return self.limits.memory_auto and self.fit is not None and not self.shrunk

    def shrink(self, *, limits: RunLimits, epoch: int) -> None:
        """Start another attempt within these limits, with a choice smaller than the one that ran out of memory."""
        self.refuse_unless_claimed(epoch)
        self.limits = replace(limits, memory_auto=True)
        self.smaller_than, self.shrunk = self.fit.choice if self.fit else None, True
        self.attempt += 1

    def advance(self, progress: Progress, *, epoch: int) -> None:
        """Record progress."""
        self.refuse_unless_claimed(epoch)
        if progress.step > self.furthest:
            self.furthest, self.fruitless = progress.step, 0
        self.progress = replace(progress, losses=thinned(progress.losses))

    def wait(self, message: str, *, epoch: int) -> None:
        """Record what it waits for; the attempt does not count as a lost worker."""
        self.refuse_unless_claimed(epoch)
        self.message, self.fruitless = message, max(0, self.fruitless - 1)

    def give_way(self, message: str, *, now: datetime, epoch: int) -> None:
        """Queue it again, since another run is first; it goes on from its last checkpoint."""
        self.wait(message, epoch=epoch)
        self.state, self.preemptions = RunState.QUEUED, self.preemptions + 1
        if self.trial is None:
            self.pending.append(RunWasQueued(occurred_at=now))

    def register(self, *, epoch: int) -> None:
        """Start registering; from here on it cannot be cancelled. A loss that did not fall is a warning."""
        self.refuse_unless_claimed(epoch)
        self.state = RunState.REGISTERING
        # Of a method that generates answers, rewards say how it goes, and its loss does not.
        why = "" if METHODS[self.recipe.method].generates else stalled(self.progress.losses)
        self.warnings += (why,) if why and why not in self.warnings else ()

    def succeed(self, model_version: str, *, now: datetime, epoch: int) -> None:
        """Record the registered version."""
        self.refuse_unless_claimed(epoch)
        self.state, self.model_version, self.finish_time, self.message = RunState.SUCCEEDED, model_version, now, ""
        self.progress = replace(self.progress, remaining_s=0.0)
        self.pending.append(
            RunHasSucceeded(
                occurred_at=now,
                model_version=model_version,
                seconds=self.progress.seconds,
                loss=self.progress.loss,
                fit=self.fit,
                examples=self.examples,
            )
        )

    def measure(self, progress: Progress, *, now: datetime, epoch: int) -> None:
        """Record that a trial was trained and measured to its end."""
        self.advance(progress, epoch=epoch)
        self._end(RunState.MEASURED, reason="", message="", now=now)

    def prune(self, *, now: datetime) -> None:
        """End a trial early; no effect if it has ended."""
        if self.state in {RunState.QUEUED, RunState.RUNNING}:
            self._end(RunState.PRUNED, reason="PRUNED", message="other trials of its sweep did better", now=now)

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail the run."""
        self.refuse_unless_claimed(epoch)
        self._end(RunState.FAILED, reason=reason, message=message, now=now)

    def cancel(self, *, now: datetime, message: str = "cancelled by a user") -> None:
        """Cancel the run; no effect if it is already cancelled.

        Raises:
            RunFinished: it is registering, or done.

        """
        if self.state is RunState.CANCELLED:
            return
        if self.state not in {RunState.QUEUED, RunState.RUNNING}:
            raise RunFinished(self.id, state=self.state.value)
        self._end(RunState.CANCELLED, reason="CANCELLED", message=message, now=now)

    def retry(self, *, base: str, guidance: Guidance, limits: RunLimits, now: datetime) -> None:
        """Queue it again with its recipe; on this base and with this guidance if no attempt has loaded one.

        After OUT_OF_MEMORY it uses these limits and, with `memory_auto`, a smaller choice.

        Raises:
            RunNotRetriable: it neither failed nor was cancelled.
            TrialNotRetriable: its sweep decides about it.
            SweepNotRetriable: it is what a sweep that could not start left.

        """
        self.refuse_unstarted_sweep()
        if self.trial:
            raise TrialNotRetriable(self.id, sweep=self.sweep)
        if not self.is_retriable:
            raise RunNotRetriable(self.id, state=self.state.value)
        if not self.has_begun:
            self.base = base
            self.recipe = replace(self.recipe, rewards=guidance.rewards, teacher=guidance.teacher)
            self.judge = guidance.judge
            self._credit(guidance.authors)
        if self.reason == OUT_OF_MEMORY:
            self.smaller_than = self.fit.choice if self.fit and limits.memory_auto else None
            self.limits = limits
        self.shrunk, self.fit = False, None
        self.state, self.reason, self.message = RunState.QUEUED, "", "waits for a worker"
        self.progress = Progress(judge_calls=self.progress.judge_calls)
        self.start_time = self.finish_time = None
        self.furthest = self.fruitless = self.preemptions = 0
        self.waiting = Waiting(since=now)
        self.pending.append(RunWasQueued(occurred_at=now))

    def refuse_unstarted_sweep(self) -> None:
        """Check that it does not stand for a sweep that could not start.

        Raises:
            SweepNotRetriable: it does.

        """
        if self.reason == SweepNotStarted.reason:
            raise SweepNotRetriable(self.id, plan=self.plan, version=self.dataset.id)

    def refuse_trained(self) -> None:
        """Check that it may be deleted.

        Raises:
            RunNotImported: it was trained here.

        """
        if self.state is not RunState.IMPORTED:
            raise RunNotImported(self.id, state=self.state.value)

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Check that the worker with this epoch owns the run.

        Raises:
            RunLost: another epoch owns it, or it is neither running nor registering.

        """
        if epoch != self.epoch or self.state not in {RunState.RUNNING, RunState.REGISTERING}:
            raise RunLost(self.id)

    def _end(self, state: RunState, *, reason: str, message: str, now: datetime) -> None:
        self.state, self.reason, self.message, self.finish_time = state, reason, message, now
        if self.trial is None:
            self.pending.append(RunHasFailed(occurred_at=now, reason=reason, message=message))
