"""Maps fits and example counts to messages, for events and API responses."""

from dataclasses import asdict

from tidemill.trainer.v1 import training_pb2 as pb
from tidemill_trainer.domain.fit import ExampleCounts, Fit


def fit_message(fit: Fit | None) -> pb.TrainingFit | None:
    """Return the fit message."""
    if fit is None:
        return None
    return pb.TrainingFit(
        per_device_train_batch_size=fit.choice.batch_size,
        gradient_accumulation_steps=fit.choice.accumulation_steps,
        gradient_checkpointing=fit.choice.checkpointing,
        needed_bytes=fit.needed_bytes,
        limit_bytes=fit.limit_bytes,
    )


def examples_message(counts: ExampleCounts | None) -> pb.TrainingExamples | None:
    """Return the example counts message."""
    return pb.TrainingExamples(**asdict(counts)) if counts else None
