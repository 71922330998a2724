"""How far a run is."""

from dataclasses import dataclass

from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.registry.domain.reward_model import PairAccuracy
from tidemill_trainer.training.domain.curves import Curve
from tidemill_trainer.training.domain.losses import LossPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run; `seconds` is computing time over all attempts since it was queued."""

    step: int = 0
    steps: int = 0
    losses: tuple[LossPoint, ...] = ()
    remaining_s: float | None = None
    seconds: float = 0.0
    held_out_losses: tuple[LossPoint, ...] = ()
    """Of a trial, after each measurement."""
    accuracy: PairAccuracy | None = None
    """Of a reward model, after its last step."""
    memorisation: Memorisation | None = None
    """Of a run that plants canaries, after its last step."""
    curves: tuple[Curve, ...] = ()
    """What is logged beside the loss."""
    peak_memory_bytes: int = 0
    """The most that its process was seen to take, as its limit counts it."""
    peak_device_memory_bytes: int = 0
    """The most that it allocated on a GPU."""
    judge_calls: int = 0
    """Calls of models for its judge, over all attempts."""
    judged_answers: int = 0
    unscored_answers: int = 0
    """Of the judged ones, those without a score."""

    @property
    def loss(self) -> float | None:
        """The last logged loss, or None."""
        return self.losses[-1].loss if self.losses else None
