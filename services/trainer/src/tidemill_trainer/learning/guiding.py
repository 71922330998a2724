"""What guides a training beside its examples, as TRL's trainers take it: rewards or a teacher."""

from typing import Any

import torch

from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.reports import Reports, Unreported


def guided_by(
    job: Job,
    tokenizer: Any,  # noqa: ANN401 - of transformers
    reports: Reports | Unreported,
    *,
    device: str,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Return the arguments of a trainer that a job's rewards and teacher are; their models are loaded.

    Raises:
        TrainingStopped: as `reward_functions`; BASE_NOT_TRAINABLE, of a teacher.

    """
    found: dict[str, Any] = {}
    if job.rewards:
        from tidemill_trainer.learning.answer_rewards import reward_functions  # noqa: PLC0415 - with what only it needs

        found["reward_funcs"] = reward_functions(job, tokenizer, reports, device=device, dtype=dtype)
    if job.teacher:
        from tidemill_trainer.learning.teacher import load_teacher  # noqa: PLC0415 - ditto

        found["teacher_model"] = load_teacher(job.teacher, dtype, name=job.teacher_name)
    return found
