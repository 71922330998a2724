"""What the process of a run has reported so far."""

from collections.abc import AsyncIterator
from dataclasses import replace

from tidemill_trainer.training.domain.curves import extended
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Begun, Fitted, Judged, Measured, Memorised, Report, Saved, Scored, Stepped


class RunReports:
    """The reports of a process so far."""

    def __init__(self, run: TrainingRun, *, base_digest: str) -> None:
        self.run, self.progress, self.versions = run, run.progress, run.versions
        self.base_digest = base_digest
        self.fit, self.examples = run.fit, run.examples
        self.saved = run.progress.step
        """The step of the last checkpoint."""
        self.estimated_bytes = 0
        """The memory that this attempt was estimated to need, once that is known."""
        self.memorised = False
        """Whether this attempt has measured what its recipe plants."""
        self.notified = 0
        """Held-out losses that the run's sweep knows of."""

    @property
    def may_stop(self) -> bool:
        """Whether more than saving is left: steps, or measuring what was memorised, which a next attempt does again."""
        progress = self.progress
        if not 0 < progress.steps <= progress.step:
            return True
        return bool(self.run.recipe.memorisation and not self.run.trial and not self.memorised)

    async def read(self, reports: AsyncIterator[Report]) -> None:
        """Read reports until the process is done; raises its failure."""
        async for report in reports:
            match report:
                case Fitted():
                    self.fit, self.examples = report.fit, report.examples
                    self.estimated_bytes = report.fit.needed_bytes
                case Begun():
                    self.versions, self.saved = report.versions, report.step
                    self.progress = replace(
                        self.progress,
                        step=report.step,
                        steps=report.steps,
                        losses=tuple(report.losses),
                        held_out_losses=tuple(report.held_out_losses),
                        curves=tuple(report.curves),
                    )
                case Measured():
                    point = LossPoint(report.step, report.loss)
                    measured = self.progress.held_out_losses
                    self.progress = replace(self.progress, held_out_losses=(*measured, point))
                case Saved():
                    self.saved = report.step
                case Scored():
                    self.progress = replace(self.progress, accuracy=report.accuracy)
                case Memorised():
                    self.memorised = True
                    self.progress = replace(self.progress, memorisation=report.memorisation)
                case Judged():
                    self.progress = replace(
                        self.progress,
                        judge_calls=report.calls,
                        judged_answers=report.answers,
                        unscored_answers=report.unscored,
                    )
                case Stepped():
                    self.progress = _stepped(self.progress, report)


def _stepped(progress: Progress, report: Stepped) -> Progress:
    logged = () if report.loss is None else (LossPoint(report.step, report.loss),)
    return replace(
        progress,
        step=report.step,
        steps=report.steps,
        losses=progress.losses + logged,
        remaining_s=report.remaining_s,
        curves=extended(progress.curves, report.step, report.numbers),
        peak_memory_bytes=max(progress.peak_memory_bytes, report.peak_memory_bytes),
        peak_device_memory_bytes=max(progress.peak_device_memory_bytes, report.peak_device_memory_bytes),
    )
