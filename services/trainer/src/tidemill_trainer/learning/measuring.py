"""What is measured of a trained model after its last step."""

from collections.abc import Sequence
from typing import Any

from transformers import Trainer

from tidemill_trainer.learning.examples import AnyRow
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.memorisation import MeasureMemorisation, facts_of, with_canaries
from tidemill_trainer.learning.reports import Reports
from tidemill_trainer.learning.reward import PairTrainer, correct_pairs, held_out_pairs
from tidemill_trainer.training.domain.recipe import answer_tokens


def planted(job: Job, rows: Sequence[AnyRow], tokenizer: Any) -> list[AnyRow]:  # noqa: ANN401 - of transformers
    """Return the rows that are learnt from, with the canaries that the job plants.

    Raises:
        TrainingStopped: CANARIES_NOT_TRAINABLE.

    """
    if job.planted is None:
        return [*rows]
    max_length = job.args["max_length"]
    return with_canaries(rows, job.planted, tokenizer, max_length=max_length, answer_tokens=answer_tokens(job.args))


def measure(job: Job, trainer: Trainer, tokenizer: Any, rows: Sequence[AnyRow], reports: Reports) -> None:  # noqa: ANN401 - ditto
    """Report how a reward model does on held-out pairs, and what a model has memorised of what it learnt from.

    `rows` are those of the train split, without canaries.
    """
    if isinstance(trainer, PairTrainer):
        max_length, seed = job.args["max_length"], job.args["seed"]
        pairs = held_out_pairs(job.held_out_examples, tokenizer, max_length=max_length, seed=seed)
        if pairs:
            reports.report("scored", pairs=len(pairs), correct=correct_pairs(trainer, pairs))
    if job.planted:
        measuring = MeasureMemorisation(trainer.model, tokenizer, within_s=job.measure_s)
        with trainer.compute_loss_context_manager():
            found = measuring(job.planted, rows)
        reports.report("memorised", **facts_of(found))
